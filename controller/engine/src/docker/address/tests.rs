use std::collections::BTreeMap;

use super::*;

/// An environment and a file system made of what a test says.
#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<PathBuf, &'static str>,
}

impl Given {
    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    fn file(mut self, path: impl Into<PathBuf>, content: &'static str) -> Self {
        self.files.insert(path.into(), content);
        self
    }

    fn context(self, name: &str, content: &'static str) -> Self {
        let digest = hex(&Sha256::digest(name.as_bytes()));
        self.file(format!("/home/ada/.docker/contexts/meta/{digest}/meta.json"), content)
    }

    fn resolve(&self, explicit: Option<&str>) -> Result<Address, AddressError> {
        Address::resolve(explicit, self)
    }
}

impl Surroundings for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(|value| (*value).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files
            .get(path)
            .map(|content| content.as_bytes().to_vec())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn home() -> Given {
    Given::default().variable("HOME", "/home/ada")
}

#[test]
fn an_explicit_address_wins_over_everything() {
    let address = home()
        .variable("DOCKER_HOST", "unix:///host.sock")
        .variable("DOCKER_CONTEXT", "work")
        .resolve(Some("unix:///run/user/1000/docker.sock"))
        .unwrap();
    assert_eq!(address.host(), "unix:///run/user/1000/docker.sock");
    assert_eq!(address.origin(), &Origin::Explicit);
    assert_eq!(address.endpoint(), &Endpoint::Unix("/run/user/1000/docker.sock".into()));
}

#[test]
fn docker_host_wins_over_contexts() {
    let address = home()
        .variable("DOCKER_HOST", "tcp://10.0.0.7")
        .variable("DOCKER_CONTEXT", "work")
        .context("work", r#"{"Endpoints":{"docker":{"Host":"unix:///work.sock"}}}"#)
        .resolve(None)
        .unwrap();
    assert_eq!(address.origin(), &Origin::DockerHost);
    assert_eq!(address.endpoint(), &Endpoint::Tcp { host: "10.0.0.7".into(), port: 2375, tls: None });
}

#[test]
fn docker_context_wins_over_the_current_context_of_the_configuration() {
    let given = home()
        .file("/home/ada/.docker/config.json", r#"{"currentContext":"other"}"#)
        .context("work", r#"{"Name":"work","Endpoints":{"docker":{"Host":"unix:///work.sock"}}}"#)
        .context("other", r#"{"Name":"other","Endpoints":{"docker":{"Host":"unix:///other.sock"}}}"#);
    let address = given.resolve(None).unwrap();
    assert_eq!((address.host(), address.origin()), ("unix:///other.sock", &Origin::Context("other".into())));
    let address = given.variable("DOCKER_CONTEXT", "work").resolve(None).unwrap();
    assert_eq!((address.host(), address.origin()), ("unix:///work.sock", &Origin::Context("work".into())));
}

#[test]
fn docker_config_moves_the_whole_configuration() {
    let digest = hex(&Sha256::digest(b"work"));
    let address = home()
        .variable("DOCKER_CONFIG", "/etc/dockercfg")
        .file("/etc/dockercfg/config.json", r#"{"currentContext":"work"}"#)
        .file(
            format!("/etc/dockercfg/contexts/meta/{digest}/meta.json"),
            r#"{"Endpoints":{"docker":{"Host":"unix:///work.sock"}}}"#,
        )
        .resolve(None)
        .unwrap();
    assert_eq!(address.host(), "unix:///work.sock");
}

#[test]
fn nothing_configured_means_the_default_socket() {
    for given in [
        Given::default(),
        home(),
        home().variable("DOCKER_HOST", ""),
        home().variable("DOCKER_CONTEXT", "default"),
        home().file("/home/ada/.docker/config.json", r#"{"auths":{}}"#),
        home().file("/home/ada/.docker/config.json", r#"{"currentContext":"default"}"#),
    ] {
        let address = given.resolve(None).unwrap();
        assert_eq!((address.host(), address.origin()), (DEFAULT_HOST, &Origin::Default));
    }
}

#[test]
fn a_context_that_cannot_be_used_is_an_error_and_never_another_engine() {
    let error = home().variable("DOCKER_CONTEXT", "gone").resolve(None).unwrap_err();
    assert!(matches!(&error, AddressError::NoSuchContext { name, .. } if name == "gone"), "{error}");
    let error = Given::default().variable("DOCKER_CONTEXT", "gone").resolve(None).unwrap_err();
    assert!(matches!(error, AddressError::NoSuchContext { .. }));
    let error =
        home().variable("DOCKER_CONTEXT", "work").context("work", r#"{"Endpoints":{}}"#).resolve(None);
    assert!(matches!(error.unwrap_err(), AddressError::NoEndpoint { .. }));
    let error = home().file("/home/ada/.docker/config.json", "{").resolve(None).unwrap_err();
    assert!(matches!(error, AddressError::Json { .. }));
}

#[test]
fn tls_of_the_environment_counts_for_tcp_only() {
    let given = home()
        .variable("DOCKER_TLS_VERIFY", "1")
        .variable("DOCKER_CERT_PATH", "/certs")
        .variable("HOME", "/");
    let Endpoint::Tcp { host, port, tls: Some(tls) } =
        given.resolve(Some("tcp://build.example")).unwrap().endpoint().clone()
    else {
        panic!("not TLS");
    };
    assert_eq!((host.as_str(), port), ("build.example", 2376));
    assert_eq!(tls, TlsFiles::in_directory(Path::new("/certs")));
    let address = given.resolve(Some("unix:///x.sock")).unwrap();
    assert_eq!(address.endpoint(), &Endpoint::Unix("/x.sock".into()));
    let error = Given::default().variable("DOCKER_TLS_VERIFY", "1").resolve(Some("tcp://h")).unwrap_err();
    assert!(matches!(error, AddressError::NoCertificates));
}

#[test]
fn a_context_brings_its_own_certificates_and_must_verify() {
    let digest = hex(&Sha256::digest(b"work"));
    let ca = format!("/home/ada/.docker/contexts/tls/{digest}/docker/ca.pem");
    let given = |meta| home().variable("DOCKER_CONTEXT", "work").context("work", meta).file(ca.clone(), "x");
    let address = given(r#"{"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#)
        .resolve(None)
        .unwrap();
    assert!(
        matches!(address.endpoint(), Endpoint::Tcp { tls: Some(tls), .. } if tls.ca.as_path() == Path::new(&ca))
    );
    let error = given(r#"{"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":true}}}"#).resolve(None);
    assert!(matches!(error.unwrap_err(), AddressError::Unverified { .. }));
}

#[test]
fn what_cannot_be_dialled_is_refused_with_what_to_do() {
    for (host, part) in [
        ("ssh://root@build", "runs on the engine's machine"),
        ("npipe:////./pipe/docker_engine", "Windows"),
        ("http://localhost:2375", "use unix:///PATH or tcp://HOST:PORT"),
        ("/var/run/docker.sock", "not of the form"),
        ("unix://relative.sock", "not of the form"),
        ("tcp://", "not of the form"),
        ("tcp://host:99999", "not of the form"),
        ("tcp://host:1/prefix", "not of the form"),
        ("tcp://user:secret@host:1", "not of the form"),
        ("", "not of the form"),
    ] {
        let error = home().resolve(Some(host)).unwrap_err().to_string();
        assert!(error.contains(part), "{host}: {error}");
    }
}

#[test]
fn an_ipv6_address_loses_its_brackets() {
    let address = home().resolve(Some("tcp://[::1]:2375/")).unwrap();
    assert_eq!(address.endpoint(), &Endpoint::Tcp { host: "::1".into(), port: 2375, tls: None });
}
