//! rskafka
