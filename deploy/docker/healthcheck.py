"""The HEALTHCHECK of the images: asks the service's own health address. With `/livez` as argument it asks that instead of `/readyz`.

By a socket alone: it is started every few seconds, and a library for HTTP takes longer to import than the answer takes to come.
"""

import os
import socket
import sys


def main(page: str) -> int:
    port = int(os.environ["PENSTOCK_HEALTH_ADDRESS"].rpartition(":")[2])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=4) as connection, connection.makefile("rb") as answer:
            connection.sendall(f"GET {page} HTTP/1.0\r\n\r\n".encode())
            status = answer.readline().split()[1:2]
            text = answer.read().decode(errors="replace").partition("\r\n\r\n")[2]
    except OSError as error:
        sys.stderr.write(f"{page}: {error}\n")
        return 1
    sys.stdout.write(text)
    return 0 if status == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "/readyz"))
