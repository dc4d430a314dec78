//! Checks that requests come from the SMS provider.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Whether a provider with this secret token has signed the request, as Twilio does: the address with its query, and
/// the fields of the form in the order of their names, with HMAC-SHA1.
pub fn is_signed(token: &str, url: &str, form: &[(String, String)], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    signed(token, url, form).verify_slice(&signature).is_ok()
}

/// The signature of a request, for tests that stand in for a provider.
pub fn signature(token: &str, url: &str, form: &[(String, String)]) -> String {
    STANDARD.encode(signed(token, url, form).finalize().into_bytes())
}

fn signed(token: &str, url: &str, form: &[(String, String)]) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("any length will do");
    mac.update(url.as_bytes());
    let mut fields: Vec<&(String, String)> = form.iter().collect();
    fields.sort();
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_as_the_provider_documents_it() {
        // The example of Twilio's documentation.
        let form = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+12349013030"),
            ("Digits", "1234"),
            ("From", "+12349013030"),
            ("To", "+18005551212"),
        ];
        let form: Vec<(String, String)> = form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let signature = "0/KCTR6DLpKmkAf8muzZqo1nDgQ=";
        assert!(is_signed("12345", url, &form, signature));
        assert!(!is_signed("12346", url, &form, signature));
        assert!(!is_signed("12345", "https://mycompany.com/myapp.php?foo=1", &form, signature));
        assert!(!is_signed("12345", url, &form[1..], signature));
        assert!(!is_signed("12345", url, &form, "") && !is_signed("12345", url, &form, "not base64!"));
    }
}
