use proptest::prelude::*;

use super::keys::{BadKeys, Kind, public, with_new};
use super::*;

fn set(kind: Kind, kid: &str) -> KeySet {
    KeySet::parse(with_new(kind, kid, None).unwrap().as_bytes()).unwrap()
}

fn claims() -> Claims {
    let tier = Some("premium".to_owned());
    Claims { path: "/a/b/".into(), exp: 1000, nbf: Some(500), tier, decision_id: Some(DecisionId::generate()) }
}

/// RFC 8037, appendix A.4, and RFC 7515, appendix A.1: what others signed is read.
#[test]
fn signatures_of_the_rfcs_are_right() {
    let ed = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let hmac = br#"{"keys":[{"kty":"oct","kid":"k","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#;
    for (json, message, signature) in [
        (
            &ed[..],
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
        (
            &hmac[..],
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
    ] {
        let keys = KeySet::parse(json).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = keys.find("k").unwrap();
        assert!(key.verify(message.as_bytes(), &signature) && !key.verify(b"other", &signature));
        assert_eq!(key.sign(message.as_bytes()).unwrap(), signature);
    }
}

#[test]
fn what_was_signed_is_read_and_nothing_else() {
    for kind in [Kind::Hmac, Kind::Ed25519] {
        let (keys, other) = (set(kind, "k1"), set(kind, "k1"));
        let token = sign(&keys, "k1", &claims()).unwrap();
        assert_eq!(read(&keys, &token), Ok(claims().with_id(&token)));
        assert_eq!(read(&other, &token), Err(Refusal::Signature));
        assert_eq!(read(&set(kind, "k2"), &token), Err(Refusal::UnknownKey));
        assert!(sign(&keys, "k2", &claims()).is_none());
    }
}

impl Claims {
    /// The random id that a test's claims had.
    fn with_id(self, token: &str) -> Self {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let read: Self = serde_json::from_slice(&payload).unwrap();
        Self { decision_id: read.decision_id, ..self }
    }
}

/// RFC 8725, sections 2.1 and 3.1: `none`, and a public key taken for a secret.
#[test]
fn the_key_says_which_algorithm_it_is_for() {
    let keys = set(Kind::Ed25519, "k");
    let token = sign(&keys, "k", &claims()).unwrap();
    let payload = token.split('.').nth(1).unwrap();
    for alg in ["none", "HS256", "eddsa", ""] {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","kid":"k"}}"#));
        for signature in ["", token.rsplit('.').next().unwrap()] {
            let forged = format!("{header}.{payload}.{signature}");
            assert_eq!(read(&keys, &forged), Err(Refusal::Signature), "{alg}");
        }
    }
}

/// RFC 7515, section 4.1.11: who does not understand what is critical refuses.
#[test]
fn what_is_critical_is_not_ignored() {
    let keys = set(Kind::Hmac, "k");
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
    for (crit, wanted) in
        [("", None), (r#","crit":["exp"]"#, Some(Refusal::Malformed)), (r#","crit":[]"#, Some(Refusal::Malformed))]
    {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"k"{crit}}}"#));
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(keys.find("k").unwrap().sign(signed.as_bytes()).unwrap());
        assert_eq!(read(&keys, &format!("{signed}.{signature}")).err(), wanted, "{crit}");
    }
}

#[test]
fn dates_may_have_fractions() {
    let read = |json: &str| serde_json::from_str::<Claims>(json).map(|claims| (claims.exp, claims.nbf)).ok();
    assert_eq!(read(r#"{"path":"/","exp":1000.9}"#), Some((1000, None)));
    assert_eq!(read(r#"{"path":"/","exp":1e3,"nbf":5e2}"#), Some((1000, Some(500))));
    for refused in [r#""1000""#, "null", "[]"] {
        assert_eq!(read(&format!(r#"{{"path":"/","exp":{refused}}}"#)), None, "{refused}");
    }
}

#[test]
fn times_and_paths() {
    let claims = claims();
    let open = |path, now| claims.open(path, now).err();
    for (path, now, refusal) in [
        ("/a/b/c", 999, None),
        ("/a/b/c/d", 495, None),
        ("/a/b/c", 1000, Some(Refusal::Expired)),
        ("/a/b/c", 494, Some(Refusal::NotYet)),
        ("/a/bc", 999, Some(Refusal::Path)),
        ("/a/b", 999, Some(Refusal::Path)),
        ("/a/b/../c", 999, Some(Refusal::Path)),
        ("/a/b/./c", 999, Some(Refusal::Path)),
        ("/a/b/c\\d", 999, Some(Refusal::Path)),
    ] {
        assert_eq!(open(path, now), refusal, "{path} at {now}");
    }
    assert!(
        covers("/a", "/a") && covers("/a", "/a/b") && !covers("/a", "/ab") && covers("/", "/x") && !covers("", "/x")
    );
    for climbing in
        ["/a/../b", "/a/%2E%2e/b", "/a/%252e%252e/b", "/a/..%2fb", "/a/..;x/b", "/a/%5c..", "/a/%25252e%25252e/b"]
    {
        assert!(!covers("/a", climbing), "{climbing}");
    }
    assert!(covers("/a", "/a/100%25 live; 2..flac") && covers("/a", "/a/%2e%2e%2e/x") && covers("/a", "/a/é%2é"));
    assert_eq!((folder_of("a/b/c").as_str(), folder_of("c").as_str()), ("/a/b/", "/c"));
}

#[test]
fn sets_of_keys() {
    let two = with_new(Kind::Ed25519, "new", Some(with_new(Kind::Hmac, "old", None).unwrap().as_bytes())).unwrap();
    let (keys, checks) = (KeySet::parse(two.as_bytes()).unwrap(), public(two.as_bytes()).unwrap());
    let token = sign(&keys, "new", &claims()).unwrap();
    let checks = KeySet::parse(checks.as_bytes()).unwrap();
    assert!(
        keys.signs("new") && !checks.signs("new") && checks.signs("old") && sign(&checks, "new", &claims()).is_none()
    );
    assert!(read(&checks, &token).is_ok());
    assert_eq!(format!("{keys:?}"), r#"["new", "old"]"#, "no log shows a key");
    for bad in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","kid":"k","k":"c2hvcnQ"}]}"#,
        r#"{"keys":[{"kty":"RSA","kid":"k"}]}"#,
        r#"{"keys":[{"kty":"OKP","kid":"k","crv":"Ed25519","x":"AAAA"}]}"#,
    ] {
        assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let again = with_new(Kind::Hmac, "new", Some(two.as_bytes()));
    assert_eq!(again, Err(BadKeys::Key("new".into(), "its id is there twice")));
}

proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(text in "[A-Za-z0-9_.-]{0,200}", noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let keys = set(Kind::Hmac, "k");
        prop_assert!(read(&keys, &text).is_err());
        prop_assert!(read(&keys, &String::from_utf8_lossy(&noise)).is_err());
    }

    /// However one character of a token is changed, it opens nothing.
    #[test]
    fn no_change_goes_unseen(at in 0usize..400, by in prop::sample::select(b"AZaz09-_.=+ ".to_vec()), ed in any::<bool>()) {
        let keys = set(if ed { Kind::Ed25519 } else { Kind::Hmac }, "k");
        let mut token = sign(&keys, "k", &claims()).unwrap().into_bytes();
        let at = at % token.len();
        prop_assume!(token[at] != by);
        token[at] = by;
        let changed = String::from_utf8(token).unwrap();
        prop_assert!(read(&keys, &changed).is_err(), "{}", changed);
    }
}
