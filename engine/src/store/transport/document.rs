//! The XML documents in which S3 answers, read as far as it takes to know that they are S3's.

use std::sync::LazyLock;

use regex::Regex;

/// An element `VersionId`, whatever it says. Stores write one without a value in several ways.
static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<VersionId(?:\s[^<>]*)?(?:/>|>[^<]*</VersionId\s*>)").expect("the expression is a constant")
});

/// The name of the root element, without the prefix of its namespace. Blanks, a byte order mark, the XML declaration and comments
/// may come before it; `None` if anything else does.
pub(super) fn root(text: &str) -> Option<&str> {
    let mut rest = text.trim_start_matches(is_blank);
    loop {
        let end = if rest.starts_with("<?") {
            "?>"
        } else if rest.starts_with("<!--") {
            "-->"
        } else {
            break;
        };
        rest = rest.split_once(end)?.1.trim_start_matches(is_blank);
    }
    let tag = rest.strip_prefix('<')?;
    let end = tag.find(|character: char| character.is_whitespace() || matches!(character, '/' | '>'))?;
    let name = &tag[..end];
    Some(name.split_once(':').map_or(name, |(_, local)| local))
}

fn is_blank(character: char) -> bool {
    character.is_whitespace() || character == '\u{feff}'
}

/// The code of an error document; `None` for any other text.
pub(super) fn error_code(text: &str) -> Option<&str> {
    if root(text)? != "Error" {
        return None;
    }
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.trim()).filter(|code| !code.is_empty())
}

/// The text without the versions that it names.
pub(super) fn without_versions(text: &str) -> String {
    VERSION.replace_all(text, "").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_whatever_may_come_before_it() {
        let namespace = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        for text in [
            "<DeleteResult/>".to_owned(),
            "<DeleteResult></DeleteResult>".to_owned(),
            format!("<DeleteResult {namespace}></DeleteResult>"),
            "<s3:DeleteResult xmlns:s3=\"x\" />".to_owned(),
            format!("{declaration}<DeleteResult\n{namespace}/>"),
            format!("\u{feff}{declaration}\r\n<DeleteResult>"),
            format!(" \n\u{feff} {declaration}  <!-- <html> --> \n<DeleteResult>"),
        ] {
            assert_eq!(root(&text), Some("DeleteResult"), "{text:?}");
        }
        for (text, found) in [
            ("", None),
            ("{\"DeleteResult\": {}}", None),
            ("signed out <DeleteResult/>", None),
            ("<?xml <DeleteResult/>", None),
            ("<DeleteResult", None),
            ("<!DOCTYPE html><html><DeleteResult/></html>", Some("!DOCTYPE")),
            ("<html><DeleteResult/></html>", Some("html")),
            ("<DeleteResults/>", Some("DeleteResults")),
        ] {
            assert_eq!(root(text), found, "{text:?}");
        }
    }

    #[test]
    fn only_an_error_document_has_a_code() {
        let document = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Key>a</Key></Error>";
        assert_eq!(error_code(document), Some("NoSuchKey"));
        for text in [
            "",
            "404 page not found",
            "<html><Code>NoSuchKey</Code></html>",
            "<Error><Code></Code></Error>",
            "<Error><Message>NoSuchKey</Message></Error>",
        ] {
            assert_eq!(error_code(text), None, "{text:?}");
        }
    }

    #[test]
    fn versions_are_left_out_however_they_are_written() {
        let kept = "<DeleteResult><Error><Key>a</Key></Error><VersionIdMarker>1</VersionIdMarker></DeleteResult>";
        for version in [
            "<VersionId></VersionId>",
            "<VersionId/>",
            "<VersionId />",
            "<VersionId\n/>",
            "<VersionId>null</VersionId>",
            "<VersionId> 3/L4kqtJ </VersionId >",
            "<VersionId xsi:nil=\"true\"/>",
            "<VersionId xsi:nil=\"true\"></VersionId>",
        ] {
            let text = kept.replace("</Key>", &format!("</Key>{version}"));
            assert_eq!(without_versions(&text), kept, "{version}");
        }
        assert_eq!(without_versions("<Key>a&lt;VersionId></Key>"), "<Key>a&lt;VersionId></Key>");
    }
}
