// TLS as connections use it.

import TLSEngine

extension TLSSession: TransportSecurity {}
