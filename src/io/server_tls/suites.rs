//! Which cipher suites listeners take, and which of them they like best. All are as strong as anybody needs: so the choice
//! is for what costs this machine least, whatever order a client has them in.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite};

/// The library's, with its suites in our order.
pub(super) fn provider() -> CryptoProvider {
    let provider = rustls::crypto::ring::default_provider();
    let cipher_suites = in_order(provider.cipher_suites, has_aes());
    CryptoProvider { cipher_suites, ..provider }
}

/// The shorter AES key before the longer, whose suites also hash with SHA-384: a tenth of a handshake's time where the
/// processor helps with SHA-256. ChaCha20 before both where it doesn't help with AES.
fn in_order(mut suites: Vec<SupportedCipherSuite>, has_aes: bool) -> Vec<SupportedCipherSuite> {
    suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            if has_aes {
                3
            } else {
                0
            }
        }
        _ => 2,
    });
    suites
}

/// Whether the processor has instructions for AES, as far as a program for it can ask.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
const fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_in_the_order_of_what_they_cost_and_none_is_missing() {
        let all = rustls::crypto::ring::default_provider().cipher_suites;
        let newest = |has_aes| -> Vec<CipherSuite> {
            let ordered = in_order(all.clone(), has_aes);
            assert!(ordered.len() == all.len() && all.iter().all(|suite| ordered.contains(suite)));
            let newest = ordered.iter().filter(|suite| suite.tls13().is_some());
            newest.map(SupportedCipherSuite::suite).collect()
        };
        let [chacha, short, long] = [
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
        ];
        assert_eq!(newest(true), [short, long, chacha]);
        assert_eq!(newest(false), [chacha, short, long]);
        assert_eq!(provider().cipher_suites, in_order(all.clone(), has_aes()));
    }
}
