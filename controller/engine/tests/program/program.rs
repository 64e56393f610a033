//! The test program of the contract (see `plugward_engine::contract`). Built by `tests/real.rs` with rustc alone, as
//! a static program, so that it can be the only file of an image.

use std::io::Write as _;
use std::process::exit;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
}

const SIGTERM: i32 = 15;

static mut CODE: i32 = 0;

extern "C" fn on_term(_: i32) {
    // SAFETY: written once, before the handler is installed; `_exit` may be called from a handler.
    unsafe { _exit(CODE) }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut stdout = std::io::stdout().lock();
    match args[..] {
        ["exit", code] => exit(code.parse().unwrap()),
        ["sleep"] => sleep(),
        ["heed", code] => {
            // SAFETY: no other thread exists; the handler does nothing that a handler may not do.
            unsafe {
                CODE = code.parse().unwrap();
                signal(SIGTERM, on_term as *const () as usize);
            }
            stdout.write_all(b"ready\n").unwrap();
            stdout.flush().unwrap();
            sleep()
        }
        ["write", out, err] => {
            stdout.write_all(out.as_bytes()).unwrap();
            stdout.flush().unwrap();
            std::io::stderr().write_all(err.as_bytes()).unwrap();
        }
        ["flood", lines] => {
            let mut stdout = std::io::BufWriter::new(stdout);
            for number in 0..lines.parse::<usize>().unwrap() {
                writeln!(stdout, "{number:08}{:.>55}", "").unwrap();
            }
            stdout.flush().unwrap();
        }
        ["print-env", name] => println_to(&mut stdout, &std::env::var(name).unwrap()),
        ["touch", path] => std::fs::write(path, "").unwrap(),
        ["eat"] => {
            // No more than a machine has to spare: an engine may ignore the limit.
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            for _ in 0..256 {
                eaten.push(vec![1; 1 << 20]);
                std::hint::black_box(&eaten);
            }
        }
        _ => {
            eprintln!("the test program does not know {args:?}");
            exit(2)
        }
    }
}

fn println_to(out: &mut impl std::io::Write, line: &str) {
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
