//! The audit log as a CSV file.

use accounts::AuditEntry;

pub(crate) const HEAD: &str = "id,at,by,address,agent,action,about,failure\n";

/// The lines of these entries.
pub(crate) fn lines(entries: &[AuditEntry]) -> std::io::Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for AuditEntry { id, at, by, address, agent, action, about, failure } in entries {
        let text = [by, address, agent, action, about, failure].map(|it| plain(it));
        csv.write_record([id.clone(), at.to_string()].iter().chain(&text))?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// A text that no spreadsheet takes for a formula.
fn plain(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use odds::Timestamp;

    use super::*;

    #[test]
    fn there_are_no_formulas() {
        let entry = AuditEntry {
            id: "1-a".into(),
            at: Timestamp::from_millis(0),
            by: "anna".into(),
            address: "::1".into(),
            agent: "=HYPERLINK(\"x\")".into(),
            action: "disable_account".into(),
            about: "ben, the \"other\"".into(),
            failure: String::new(),
        };
        let expected = "1-a,1970-01-01T00:00:00Z,anna,::1,\"'=HYPERLINK(\"\"x\"\")\",disable_account,\"ben, the \"\"other\"\"\",\n";
        assert_eq!(String::from_utf8_lossy(&lines(&[entry]).unwrap()), expected);
    }
}
