"""The operator's small step: two authorities, the certificates of every member, and the operator's own. By openssl, so that
what the members check was not made by them.
"""

from pathlib import Path

from systemdlab.processes import run

DAYS = "30"


class Authority:
    def __init__(self, folder, name):
        self.folder, self.name = Path(folder), name
        self.certificate = self.folder / f"{name}-ca.crt"
        self.key = self.folder / f"{name}-ca.key"
        run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS,
                "-subj", f"/CN={name} authority", "-keyout", self.key, "-out", self.certificate,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            ])

    def issue(self, name, subject, names=()):
        """The paths of certificate and key."""
        key, request, certificate, wishes = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt", "ext"))
        lines = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
        if names:
            lines.append("subjectAltName=" + ",".join(names))
        wishes.write_text("\n".join(lines) + "\n")
        run(
            [
                "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={subject}",
                "-keyout", key, "-out", request,
            ])
        run(
            [
                "openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", DAYS, "-extfile", wishes, "-out", certificate,
            ])
        return certificate, key
