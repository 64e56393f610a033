use super::*;

#[test]
fn what_is_stored_is_read_back() {
    let identity = Identity::generate().unwrap();
    let again = Identity::from_pem(&identity.to_pem()).unwrap();
    assert_eq!(again.certificate(), identity.certificate());
    assert_eq!(again.to_pem(), identity.to_pem());
    assert!(identity.to_pem().starts_with(&identity.certificate_pem()));
}

#[test]
fn the_certificate_is_one_block_with_lines_of_64() {
    let pem = Identity::generate().unwrap().certificate_pem();
    let lines: Vec<_> = pem.lines().collect();
    assert_eq!(lines.first(), Some(&"-----BEGIN CERTIFICATE-----"));
    assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
    assert!(pem.ends_with('\n'));
    let (last, full) = lines[1..lines.len() - 1].split_last().unwrap();
    assert!(full.iter().all(|line| line.len() == 64));
    assert!((1..=64).contains(&last.len()));
}

#[test]
fn a_key_does_not_fit_another_certificate() {
    let (one, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let key = one.to_pem()[one.certificate_pem().len()..].to_owned();
    let mixed = format!("{}{key}", other.certificate_pem());
    assert!(matches!(Identity::from_pem(&mixed), Err(IdentityError::Mismatch(_))));
}

#[test]
fn half_an_identity_is_none() {
    let identity = Identity::generate().unwrap();
    let pem = identity.to_pem();
    let (certificate, key) = pem.split_at(identity.certificate_pem().len());
    assert!(matches!(Identity::from_pem(certificate), Err(IdentityError::Key(_))));
    assert!(matches!(Identity::from_pem(key), Err(IdentityError::Certificate(_))));
    assert!(matches!(Identity::from_pem(""), Err(IdentityError::Certificate(_))));
}

#[test]
fn the_key_is_not_shown() {
    let identity = Identity::generate().unwrap();
    assert_eq!(format!("{identity:?}"), "Identity { .. }");
    let config = identity.client_config(identity.certificate()).unwrap();
    let key = &identity.to_pem()[identity.certificate_pem().len()..];
    let secret = key.lines().nth(1).unwrap();
    assert!(!format!("{config:?}").contains(secret));
}
