use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use http_body_util::Full;
use hyper::{Response, body::Incoming, http::HeaderName, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::duplex;

use super::*;

/// Long enough for any machine. No test waits for it to pass in real time.
const LIMIT: Duration = Duration::from_mins(1);

/// What a plugin was asked.
type Asked = Arc<Mutex<Option<(Uri, HeaderMap, Bytes)>>>;

/// What a plugin answers: its HTTP status, headers, content and trailers.
#[derive(Clone, Default)]
struct Scripted {
    http: StatusCode,
    headers: &'static [(&'static str, &'static str)],
    content: Bytes,
    trailers: &'static [(&'static str, &'static str)],
}

impl Scripted {
    fn ok(content: &[u8]) -> Self {
        let content = Bytes::copy_from_slice(content);
        Self { content, trailers: &[("grpc-status", "0")], ..Self::default() }
    }

    fn response(self) -> Response<Body> {
        let map = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            pairs.collect::<HeaderMap>()
        };
        let trailers = (!self.trailers.is_empty()).then(|| Ok(map(self.trailers)));
        let body = Full::new(self.content).with_trailers(std::future::ready(trailers));
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = self.http;
        *response.headers_mut() = map(self.headers);
        response
    }
}

/// A connection to a plugin that answers with what `answer` makes of the content of a request.
async fn plugin(answer: impl Fn(Bytes) -> Scripted + Clone + Send + 'static) -> (Channel, Asked) {
    let (ours, theirs) = duplex(64 << 10);
    let asked = Asked::default();
    let service = service_fn({
        let asked = Arc::clone(&asked);
        move |request: Request<Incoming>| {
            let (asked, answer) = (Arc::clone(&asked), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let content = body.collect().await?.to_bytes();
                *asked.lock().unwrap() = Some((head.uri, head.headers, content.clone()));
                Ok::<_, hyper::Error>(answer(content).response())
            }
        }
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(theirs), service);
    tokio::spawn(connection);
    (Channel::start(ours).await.unwrap(), asked)
}

fn path() -> PathAndQuery {
    PathAndQuery::from_static("/test.Plugin/Call")
}

async fn ask(answer: Scripted) -> Result<Answer, CallError> {
    let (channel, _) = plugin(move |_| answer.clone()).await;
    call(channel, path(), HeaderMap::new(), Bytes::new(), LIMIT).await
}

fn status(code: Code, message: &str) -> Answer {
    Answer::Status { code, message: message.to_owned() }
}

#[tokio::test]
async fn messages_of_any_size_come_and_go_as_they_are() {
    // Beyond the first windows of HTTP/2, and beyond what tonic's clients take without being told.
    for size in [0, 1, 70_000, 20 << 20] {
        let (channel, asked) = plugin(|content| Scripted::ok(&content)).await;
        let message: Bytes = (0..size).map(|at: usize| at.to_le_bytes()[at % 3]).collect();

        let answer = call(channel, path(), HeaderMap::new(), message.clone(), LIMIT).await.unwrap();

        let (uri, _, content) = asked.lock().unwrap().take().unwrap();
        assert_eq!(uri.path(), "/test.Plugin/Call");
        assert_eq!(content[..HEAD], [[0].as_slice(), &u32::try_from(size).unwrap().to_be_bytes()].concat());
        assert!(content[HEAD..] == message, "{size} bytes came otherwise");
        assert!(answer == Answer::Message(Zeroizing::new(message.to_vec())), "{size} bytes went otherwise");
    }
}

#[tokio::test]
async fn metadata_comes_in_order_and_cannot_replace_what_is_grpcs_own() {
    let (channel, asked) = plugin(|content| Scripted::ok(&content)).await;
    let mut metadata = HeaderMap::new();
    for (name, value) in [
        ("multiplex_id", "first"),
        ("many", "1"),
        ("many", "2"),
        ("trace-bin", "AAE"),
        ("content-type", "text/plain"),
        ("grpc-timeout", "1H"),
        ("grpc-encoding", "gzip"),
    ] {
        metadata.append(name, HeaderValue::from_static(value));
    }

    call(channel, path(), metadata, Bytes::new(), Duration::from_micros(1_500_001)).await.unwrap();

    let (_, headers, _) = asked.lock().unwrap().take().unwrap();
    let values =
        |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("multiplex_id"), ["first"]);
    assert_eq!(values("many"), ["1", "2"]);
    assert_eq!(values("trace-bin"), ["AAE"]);
    assert_eq!(values("content-type"), ["application/grpc"]);
    assert_eq!(values("te"), ["trailers"]);
    assert_eq!(values("grpc-timeout"), ["1501m"]);
    assert!(values("grpc-encoding").is_empty());
}

#[test]
fn hpack_remembers_no_metadata() {
    let metadata =
        HeaderMap::from_iter([(HeaderName::from_static("token"), HeaderValue::from_static("s3cret"))]);
    let headers = headers(metadata, LIMIT);
    assert!(headers["token"].is_sensitive());
    assert!(!headers["te"].is_sensitive());
}

#[test]
fn a_time_limit_of_any_length_can_be_said() {
    for (limit, said) in [
        (Duration::ZERO, "0m"),
        (Duration::from_nanos(1), "1m"),
        (Duration::from_secs(30), "30000m"),
        (Duration::from_millis(99_999_999), "99999999m"),
        (Duration::from_millis(100_000_000), "100000S"),
        (Duration::MAX, "99999999S"),
    ] {
        assert_eq!(timeout(limit), said);
    }
}

#[tokio::test]
async fn an_error_is_an_answer_wherever_it_stands() {
    let at_once = Scripted {
        headers: &[("grpc-status", "9"), ("grpc-message", "not initialized: 100%25 sure")],
        ..Scripted::default()
    };
    assert_eq!(ask(at_once).await.unwrap(), status(Code::FailedPrecondition, "not initialized: 100% sure"));

    let long = "x".repeat(8000).leak();
    let late = Scripted {
        trailers: vec![("grpc-status", "16"), ("grpc-message", &*long)].leak(),
        ..Scripted::ok(&[0, 0, 0, 0, 1, 7])
    };
    assert_eq!(ask(late).await.unwrap(), status(Code::Unauthenticated, long));

    let of_http = Scripted { http: StatusCode::SERVICE_UNAVAILABLE, ..Scripted::default() };
    assert!(matches!(ask(of_http).await, Ok(Answer::Status { code: Code::Unavailable, .. })));
}

#[tokio::test]
async fn what_is_no_answer_is_none() {
    let no_message = Scripted { headers: &[("grpc-status", "0")], ..Scripted::default() };
    let no_status = Scripted { trailers: &[("other", "1")], ..Scripted::ok(&[0, 0, 0, 0, 0]) };
    for (answer, problem) in [
        (no_message, "OK and has no message"),
        (no_status, "without a status"),
        (Scripted::ok(&[]), "no message"),
        (Scripted::ok(&[0, 0, 0, 0]), "no message"),
        (Scripted::ok(&[1, 0, 0, 0, 1, 7]), "compressed"),
        (Scripted::ok(&[0, 0, 0, 0, 2, 7]), "not one whole message"),
        (Scripted::ok(&[0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 1, 7]), "not one whole message"),
        (Scripted::ok(&vec![0; HEAD + MAX_ANSWER_SIZE + 1]), "too large"),
    ] {
        let error = ask(answer).await.unwrap_err();
        assert_eq!(error.as_str(), "call_malformed");
        assert!(error.to_string().contains(problem), "{error} should say {problem:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_no_answer() {
    let (ours, theirs) = duplex(64 << 10);
    let channel = Channel::start(ours).await.unwrap();
    drop(theirs);
    let error = call(channel, path(), HeaderMap::new(), Bytes::new(), LIMIT).await.unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    assert!(error.to_string().contains("/test.Plugin/Call"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_answer_costs_the_time_limit() {
    let (ours, _theirs) = duplex(64 << 10);
    let channel = Channel::start(ours).await.unwrap();
    let error = call(channel, path(), HeaderMap::new(), Bytes::new(), LIMIT).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { limit: LIMIT, .. }), "{error}");
}

/// A message that tells when it is dropped.
struct Told(Arc<AtomicBool>);

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        b"a secret that is longer than what HTTP/2 copies: ".repeat(10).leak()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_message_is_dropped_with_its_owner_once_it_is_sent() {
    let (channel, _) = plugin(|_| Scripted::ok(&[0; HEAD])).await;
    let dropped = Arc::new(AtomicBool::new(false));
    let message = Bytes::from_owner(Told(Arc::clone(&dropped)));
    call(channel.clone(), path(), HeaderMap::new(), message, LIMIT).await.unwrap();
    assert!(dropped.load(Ordering::Relaxed));
    drop(channel);
}

#[test]
fn no_debug_shows_what_was_said() {
    let said = Answer::Message(Zeroizing::new(b"secret".to_vec()));
    assert_eq!(format!("{said:?}"), "Message(6 bytes)");
    assert!(!format!("{:?}", status(Code::Internal, "secret")).contains("secret"));
}

#[test]
fn a_growing_answer_keeps_its_content() {
    let mut content = Zeroizing::default();
    for piece in [b"ab".as_slice(), b"", b"c", b"defghijklmn"] {
        append(&mut content, piece);
    }
    assert_eq!(*content, b"abcdefghijklmn");
}
