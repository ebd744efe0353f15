// What OpenSSL does when the process ends: it takes its tables down, while other threads may still be in the middle of a
// handshake or close a connection, and what they touch then is not theirs any more. The kernel takes everything back anyway.

import COpenSSL

package enum OpenSSLExit {
    /// Before anything else asks OpenSSL for something.
    package static func leavesAllAsItIs() {
        _ = OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil)
    }
}
