//! minio
