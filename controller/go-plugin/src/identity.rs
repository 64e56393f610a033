//! Certificates: who a side is, and whom it believes.

use std::{
    fmt, io,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    ALL_VERSIONS, ClientConfig, ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, sign::any_ecdsa_type},
    },
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use zeroize::{Zeroize, Zeroizing};

use crate::pin::Pin;

/// The name that every certificate is for.
pub(crate) const NAME: &str = "localhost";

/// HTTP/2, which grpc-go insists on hearing in the TLS handshake.
const ALPN: &[u8] = b"h2";

/// How long before now a certificate becomes valid, against clocks that differ a little. go-plugin's own figure.
const BACKDATED: Duration = Duration::from_secs(30);

/// How long a certificate is valid: about 30 years. go-plugin's own figure.
const VALID: Duration = Duration::from_hours(262_980);

/// The provider of all cryptography here. go-plugin's keys are on P-521, which ring does not know. It is passed
/// on explicitly: which provider a process installs is not a library's to say.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// A certificate and its private key, made for one launch.
///
/// The certificate is self-signed, on P-256, for `localhost`, as a client and as a server, since brokered
/// connections use the same one in either role. (A Go plugin's is on P-521, which makes a TLS handshake
/// nearly twice as dear.)
///
/// Neither `Debug` nor any error shows the key, and our copies of it are wiped from memory when dropped.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// The private key as PKCS#8.
    key: Zeroizing<Vec<u8>>,
}

/// Why there is no identity, or no use for it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key or a certificate could not be made.
    #[error("a certificate cannot be made")]
    Generate(#[source] rcgen::Error),
    /// The text holds no certificate.
    #[error("no certificate can be read")]
    Certificate(#[source] pem::Error),
    /// The text holds no private key.
    #[error("no private key can be read")]
    Key(#[source] pem::Error),
    /// The key is unusable, or is another certificate's.
    #[error("the private key does not fit the certificate")]
    Mismatch(#[source] rustls::Error),
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

// === impl Identity ===

impl Identity {
    /// Makes a new one.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Generate)?;
        let certificate = self_signed(&pair).map_err(IdentityError::Generate);
        let key = Zeroizing::new(pair.serialize_der());
        pair.zeroize();
        Self::new(certificate?, key)
    }

    /// Reads what [`Identity::to_pem`] wrote.
    ///
    /// # Errors
    ///
    /// When one of the two is missing or unreadable, or they do not belong together.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(IdentityError::Certificate)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(IdentityError::Key)?;
        let key = Zeroizing::new(key);
        Self::new(certificate, Zeroizing::new(key.secret_pkcs8_der().to_vec()))
    }

    fn new(certificate: CertificateDer<'static>, key: Zeroizing<Vec<u8>>) -> Result<Self, IdentityError> {
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.as_slice()));
        let signing = any_ecdsa_type(&der).map_err(IdentityError::Mismatch)?;
        let certified = CertifiedKey::new(vec![certificate], signing);
        certified.keys_match().map_err(IdentityError::Mismatch)?;
        Ok(Self { certified: Arc::new(certified), key })
    }

    /// The certificate and then the private key, as PEM: for a file that nobody else can read.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let key = encode_pem("PRIVATE KEY", &self.key);
        Zeroizing::new([self.certificate_pem().as_str(), key.as_str()].concat())
    }

    /// The certificate as PEM, as [`Launch::client_certificate`](crate::Launch::client_certificate) wants it.
    pub fn certificate_pem(&self) -> String {
        encode_pem("CERTIFICATE", self.certificate()).to_string()
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        // `new` puts one there.
        &self.certified.cert[0]
    }

    /// The settings for connecting to the plugin that has this certificate, and to no other.
    ///
    /// Keep them as long as the plugin lives: they remember its TLS sessions, and resuming one costs a
    /// fraction of a new one.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Tls`], which would be a mistake in this crate.
    pub fn client_config(&self, server: &CertificateDer<'_>) -> Result<ClientConfig, IdentityError> {
        let pin = Pin::new(server.clone().into_owned(), Arc::clone(&PROVIDER));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(ALL_VERSIONS)
            .map_err(IdentityError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pin))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// The settings for serving the side that has this certificate, and no other: a plugin its host, and a host the plugin that
    /// connects to a brokered server.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Tls`], which would be a mistake in this crate.
    pub fn server_config(&self, client: &CertificateDer<'_>) -> Result<ServerConfig, IdentityError> {
        let pin = Pin::new(client.clone().into_owned(), Arc::clone(&PROVIDER));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(ALL_VERSIONS)
            .map_err(IdentityError::Tls)?
            .with_client_cert_verifier(Arc::new(pin))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// A number that nobody can guess.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    PROVIDER
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A certificate of the shape that go-plugin's own have, but for the curve and the authority bit.
fn self_signed(key: &KeyPair) -> Result<CertificateDer<'static>, rcgen::Error> {
    let now = SystemTime::now();
    let mut params = CertificateParams::new([NAME.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALID).into();
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyAgreement,
    ];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.self_signed(key)?.der().clone())
}

/// RFC 7468: lines of 64 characters.
fn encode_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64_STANDARD.encode(der));
    // Enough from the start: a string that grows leaves copies of itself behind.
    let mut pem = Zeroizing::new(String::with_capacity(2 * body.len() + 2 * label.len() + 64));
    for part in ["-----BEGIN ", label, "-----\n"] {
        pem.push_str(part);
    }
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        pem.push_str(part);
    }
    pem
}

#[cfg(test)]
mod tests;
