//! The agreement on an API version.

use bollard::models::SystemVersion;
use bollard::{ClientVersion, Docker};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;

use super::transport::{ApiVersion, Dialer, Transport};

/// The oldest API that the adapter speaks: Docker Engine 20.10.
pub(super) const OLDEST: ApiVersion = ApiVersion::new(1, 41);

/// The newest API that the adapter speaks: the one that bollard's types are generated from.
pub(super) const NEWEST: ApiVersion = ApiVersion::new(1, 53);

/// bollard's own time limit, in seconds: out of the way, since every call here has one of ours (`limits`).
const CLIENT_TIMEOUT: u64 = 24 * 60 * 60;

/// What was agreed with an engine. It holds for as long as that engine runs.
pub(super) struct Session {
    pub(super) client: Docker,
    pub(super) version: ApiVersion,
}

/// Why there is no agreement.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("no answer to a question for its version")]
    Request(#[source] bollard::errors::Error),
    #[error("{0}")]
    Incompatible(String),
}

impl Session {
    /// Asks the engine what it speaks and takes the newest that both do.
    pub(super) async fn negotiate(dialer: &Dialer) -> Result<Self, SessionError> {
        let theirs = ask(dialer).await.map_err(SessionError::Request)?;
        let version = agree(&theirs).map_err(SessionError::Incompatible)?;
        let transport = Transport::new(dialer.clone(), version);
        let client = Docker::connect_with_custom_transport(
            move |request| transport.clone().request(request),
            // bollard wants a host to make URLs of; the transport knows the real one.
            Some("http://docker"),
            CLIENT_TIMEOUT,
            &ClientVersion { major_version: version.major, minor_version: version.minor },
        )
        .map_err(SessionError::Request)?;
        Ok(Self { client, version })
    }
}

/// `GET /version` without a version in its path: the one question that engines of all versions answer.
async fn ask(dialer: &Dialer) -> Result<SystemVersion, bollard::errors::Error> {
    let request = Request::get("/version").body(Empty::<Bytes>::new())?;
    let response = dialer.send(request).await?;
    let status_code = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    if status_code != 200 {
        let message = String::from_utf8_lossy(&body).into_owned();
        return Err(bollard::errors::Error::DockerResponseServerError { status_code, message });
    }
    Ok(serde_json::from_slice(&body)?)
}

/// The version to speak, or why there is none.
fn agree(theirs: &SystemVersion) -> Result<ApiVersion, String> {
    let release = theirs.version.as_deref().unwrap_or("of unknown version");
    let version_of = |text: &Option<String>| text.as_deref().and_then(ApiVersion::parse);
    let newest = version_of(&theirs.api_version)
        .ok_or_else(|| "it does not say which version of the Docker API it speaks".to_owned())?;
    if newest < OLDEST {
        return Err(format!(
            "Docker Engine {release} speaks the Docker API up to {newest}; plugward needs {OLDEST}, that is Docker \
             Engine 20.10 or newer"
        ));
    }
    match version_of(&theirs.min_api_version) {
        Some(oldest) if oldest > NEWEST => Err(format!(
            "Docker Engine {release} speaks the Docker API from {oldest} on; this plugward speaks it up to {NEWEST}: \
             a newer plugward is needed"
        )),
        _ => Ok(newest.min(NEWEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(oldest: Option<&str>, newest: Option<&str>) -> SystemVersion {
        SystemVersion {
            version: Some("9.9".to_owned()),
            api_version: newest.map(ToOwned::to_owned),
            min_api_version: oldest.map(ToOwned::to_owned),
            ..SystemVersion::default()
        }
    }

    #[test]
    fn the_newest_version_that_both_speak_is_taken() {
        assert_eq!(agree(&engine(Some("1.12"), Some("1.41"))), Ok(OLDEST));
        assert_eq!(agree(&engine(Some("1.40"), Some("1.56"))), Ok(NEWEST));
        assert_eq!(agree(&engine(None, Some("1.45"))), Ok(ApiVersion::new(1, 45)));
    }

    #[test]
    fn engines_out_of_reach_of_our_versions_are_refused_with_a_sentence() {
        let old = agree(&engine(Some("1.12"), Some("1.40"))).unwrap_err();
        assert!(old.contains("20.10 or newer"), "{old}");
        let new = agree(&engine(Some("1.60"), Some("1.70"))).unwrap_err();
        assert!(new.contains("a newer plugward is needed"), "{new}");
        assert!(agree(&engine(None, None)).unwrap_err().contains("does not say"));
        assert!(agree(&engine(None, Some("latest"))).is_err());
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(ApiVersion::parse("1.9").unwrap() < ApiVersion::parse("1.41").unwrap());
        assert_eq!(ApiVersion::parse("1"), None);
        assert_eq!(ApiVersion::parse("1.x"), None);
    }
}
