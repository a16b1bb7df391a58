"""Which programs the comparison is with."""

import sys
import unicodedata

from asking import serve
from fail2ban.version import version

serve(lambda _: {"fail2ban": version, "python": sys.version_info[:2], "unicode": unicodedata.unidata_version})
