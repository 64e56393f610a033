//! Lines that change: redrawn in place on a terminal, told one after the other elsewhere.

use std::env;
use std::io::{self, IsTerminal, Write};

use rustix::termios::tcgetwinsize;

/// Where lines are shown that change.
#[derive(Debug)]
pub(super) struct Board {
    screen: Screen,
    shown: Vec<String>,
    /// How wide each line was drawn, in columns.
    drawn: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// A terminal.
    Terminal,
    /// Anything else: each line that is new is told once.
    Stream,
}

/// Moves the cursor to the first column, and clears what is right of it and below.
const CLEAR: &str = "\r\x1b[J";

/// The width of a terminal that does not say it.
const USUAL_WIDTH: usize = 80;

// === impl Board ===

impl Board {
    /// As standard output can show it.
    pub(super) fn of_output() -> Self {
        let dumb = env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let screen = if io::stdout().is_terminal() && !dumb { Screen::Terminal } else { Screen::Stream };
        Self { screen, shown: Vec::new(), drawn: Vec::new() }
    }

    /// Shows these lines in the place of those before.
    pub(super) fn draw(&mut self, lines: &[String]) {
        if self.shown != lines {
            let text = self.change(lines, width());
            show(&text);
        }
    }

    /// Shows them again: the terminal has another size.
    pub(super) fn redraw(&mut self) {
        if self.screen == Screen::Terminal {
            let lines = self.shown.clone();
            show(&self.change(&lines, width()));
        }
    }

    /// Leaves the cursor at the beginning of a line, whatever the terminal made of a key.
    pub(super) fn leave(&self) {
        if self.screen == Screen::Terminal {
            show(CLEAR);
        }
    }

    /// What is to be written for these lines. Each is cut at the width of the terminal, so that none takes two rows.
    fn change(&mut self, lines: &[String], width: usize) -> String {
        let text = match self.screen {
            Screen::Stream => {
                let is_new = |(at, line): &(usize, &String)| self.shown.get(*at) != Some(line);
                lines.iter().enumerate().filter(is_new).flat_map(|(_, line)| [line, "\n"]).collect()
            }
            Screen::Terminal => {
                // What was drawn wider takes several rows by now, where the terminal breaks lines anew.
                let rows: usize = self.drawn.iter().map(|columns| columns.div_ceil(width).max(1)).sum();
                let up = if rows > 0 { format!("\x1b[{rows}A") } else { String::new() };
                let cut: Vec<String> = lines.iter().map(|line| cut(line, width)).collect();
                self.drawn = cut.iter().map(|line| line.chars().count()).collect();
                let text: String = cut.iter().flat_map(|line| [line, "\n"]).collect();
                format!("{up}{CLEAR}{text}")
            }
        };
        lines.clone_into(&mut self.shown);
        text
    }
}

/// A line as wide as the terminal at the most. The last column stays free: some terminals go on in the next row then.
fn cut(line: &str, width: usize) -> String {
    let room = width.saturating_sub(1).max(1);
    if line.chars().count() <= room {
        return line.to_owned();
    }
    line.chars().take(room - 1).chain(['…']).collect()
}

fn width() -> usize {
    let size = tcgetwinsize(io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

/// That nobody looks is no failure: what was asked for goes on.
fn show(text: &str) {
    let mut output = io::stdout();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(screen: Screen) -> Board {
        Board { screen, shown: Vec::new(), drawn: Vec::new() }
    }

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn elsewhere_each_change_is_a_line_without_codes() {
        let mut board = board(Screen::Stream);
        assert_eq!(board.change(&lines(&["a: Pending", "b: Pending"]), 80), "a: Pending\nb: Pending\n");
        assert_eq!(board.change(&lines(&["a: Pending", "b: Ready"]), 80), "b: Ready\n");
        assert_eq!(board.change(&lines(&["a: Pending", "b: Ready"]), 80), "");
    }

    #[test]
    fn on_a_terminal_lines_take_the_place_of_those_before() {
        let mut board = board(Screen::Terminal);
        assert_eq!(
            board.change(&lines(&["a: Pending", "b: Pending"]), 80),
            "\r\x1b[Ja: Pending\nb: Pending\n"
        );
        assert_eq!(
            board.change(&lines(&["a: Ready", "b: Ready"]), 80),
            "\x1b[2A\r\x1b[Ja: Ready\nb: Ready\n"
        );
    }

    #[test]
    fn a_line_never_takes_two_rows_and_one_that_came_to_is_cleared_as_two() {
        let mut board = board(Screen::Terminal);
        assert_eq!(board.change(&lines(&["0123456789"]), 11), "\r\x1b[J0123456789\n");
        assert_eq!(board.change(&lines(&["0123456789"]), 6), "\x1b[2A\r\x1b[J0123…\n");
        assert_eq!(board.change(&lines(&["abcdefghij"]), 6), "\x1b[1A\r\x1b[Jabcd…\n", "it was cut");
    }
}
