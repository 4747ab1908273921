//! Buckets with Object Lock: what is written cannot be deleted or overwritten for a day, by nobody.

use anyhow::{Context, Result, ensure};
use reqsign_aws_v4::{RequestSigner, StaticCredentialProvider};
use reqsign_core::Signer;

use super::{ACCESS_KEY_ID, Minio, REGION, SECRET_ACCESS_KEY};
use crate::unique;

const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                    <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";

impl Minio {
    /// Makes a bucket in which every object is retained for a day by default, and gives its name, which begins with `stem`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn make_locked_bucket(&self, stem: &str) -> Result<String> {
        let name = unique(stem);
        self.call("PUT", &name, &[("x-amz-bucket-object-lock-enabled", "true")], "")?;
        self.call("PUT", &format!("{name}?object-lock"), &[], LOCK)?;
        Ok(name)
    }

    /// Makes a call of S3's API, signed with the server's credentials, and gives what it answers.
    ///
    /// # Errors
    /// When the server does not answer, or refuses; the text holds what it says.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<String> {
        let url = format!("{}/{path}", self.endpoint());
        let mut request = http::Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).context("no request")?.into_parts().0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let credentials = StaticCredentialProvider::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY);
            let signer = Signer::new(reqsign_core::Context::new(), credentials, RequestSigner::new("s3", REGION));
            signer.sign(&mut request, None).await?;
            let sent = reqwest::Client::new().request(request.method, request.uri.to_string());
            let answer = sent.headers(request.headers).body(body.to_owned()).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success(), "{method} {path}: {status}: {text}");
            Ok(text)
        })
    }
}
