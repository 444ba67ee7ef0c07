"""Django's settings, all derived from the one typed configuration."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql

from ginkgo_site.addresses import Addresses, resolve
from ginkgo_site.config import PROJECT, load

# Celery and Django speak to MySQL through PyMySQL; Django asks for mysqlclient by its name and version.
pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()

GINKGO, GINKGO_ORIGIN = load()
ADDRESSES = resolve(GINKGO)


def _secret_key(home: Path) -> str:
    """The given key, else one generated once for this installation and kept beside its data."""
    if GINKGO.web.secret_key is not None:
        return GINKGO.web.secret_key.get_secret_value()
    path = home / "secret_key"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        home.mkdir(parents=True, exist_ok=True)
        key = secrets.token_urlsafe(64)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key)
        except FileExistsError:
            return path.read_text(encoding="utf-8")
        return key


SECRET_KEY = _secret_key(GINKGO.home)
DEBUG = GINKGO.web.debug
ALLOWED_HOSTS = [*GINKGO.web.allowed_hosts]
if GINKGO.web.url is not None:
    ALLOWED_HOSTS.append(urlsplit(GINKGO.web.url).hostname or "")
    CSRF_TRUSTED_ORIGINS = [GINKGO.web.url]
if GINKGO.web.public:
    # What `manage.py check --deploy` asks of a public site. The TLS ends at a proxy.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # Those who watch ask the process itself, not the proxy.
    SECURE_REDIRECT_EXEMPT = [r"^api/health$"]
    SECURE_HSTS_SECONDS = 365 * 86_400
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
ROOT_URLCONF = "ginkgo_site.urls"
WSGI_APPLICATION = "ginkgo_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = ["ginkgo_site.formats"]
STATIC_URL = "/static/"
STATIC_ROOT = GINKGO.web.static_root or GINKGO.home / "static"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # Without its autodiscovery: the admin's pages are imported with the site's addresses, not by every command.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_typer",
    "portfolios",
    "market",
    "scheduler",
    "nodes",
    "alerts",
    "ginkgo_site",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
WHITENOISE_USE_FINDERS = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PROJECT / "ginkgo_site" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, Any]:
    mysql = GINKGO.mysql
    if mysql.host is None:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": GINKGO.home / "ginkgo.sqlite3",
            "OPTIONS": {
                # One writer at a time: a transaction takes its turn at BEGIN, not in its middle where it would fail.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                # Every thread has a connection of its own for days. Left alone each may keep 2 MB of pages, and with
                # sorts in memory a process of ten threads would grow for as long as its books do. And it would keep
                # 128 prepared statements: one for each number of ids that was ever asked for at once.
                "cached_statements": 32,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-512;",
            },
        }
    return {
        "ENGINE": "ginkgo_site.mysql",
        "HOST": mysql.host,
        "PORT": mysql.port,
        "USER": mysql.user,
        "PASSWORD": mysql.password.get_secret_value(),
        "NAME": mysql.database,
        "OPTIONS": {
            "charset": "utf8mb4",
            "connect_timeout": 5,
            # A server that swallows packets must not hold a thread for good.
            "read_timeout": 15,
            "write_timeout": 15,
            "isolation_level": "read committed",
            "init_command": "SET sql_mode='STRICT_TRANS_TABLES', time_zone='+00:00', innodb_lock_wait_timeout=10",
        },
        "TEST": {"CHARSET": "utf8mb4"},
    }


DATABASES = {"default": _database()}

REST_FRAMEWORK = {
    # The first one's challenge makes an unknown caller's answer a 401.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "portfolios.api.kit.authentication.KeyAuthentication",
        "portfolios.api.kit.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["portfolios.api.kit.rights.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["portfolios.api.kit.throttles.ByScope"],
    "DEFAULT_PARSER_CLASSES": ["portfolios.api.kit.formats.JsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["portfolios.api.kit.formats.JsonRenderer"],
    "EXCEPTION_HANDLER": "portfolios.api.kit.errors.handler",
    "DEFAULT_SCHEMA_CLASS": "portfolios.api.kit.schema.Schema",
    "URL_FORMAT_OVERRIDE": None,
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=GINKGO.api.access_token_lifetime),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=GINKGO.api.refresh_token_lifetime),
    # A new password ends every token of the old one.
    "CHECK_REVOKE_TOKEN": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Ginkgo Live",
    "DESCRIPTION": "Runs many trading portfolios on many nodes, and keeps every one of them running.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": True,
    "SERVE_AUTHENTICATION": [],
    "SCHEMA_PATH_PREFIX": "/api/",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["portfolios.api.kit.schema.add_components"],
    "COMPONENT_SPLIT_PATCH": False,
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s [%(levelname)s] %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        name: {"level": GINKGO.node.log_level}
        for name in ("portfolios", "scheduler", "nodes", "market", "alerts", "ginkgo_site")
    },
}

UNFOLD = {
    "SITE_TITLE": "Ginkgo Live",
    "SITE_HEADER": "Ginkgo Live",
    "SITE_SUBHEADER": "Portfolios that keep running",
    "SITE_SYMBOL": "eco",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": f"{STATIC_URL}portfolios/leaf.svg"}],
    "STYLES": [f"{STATIC_URL}portfolios/admin.css"],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "ginkgo_site.admin_dashboard.dashboard",
    "SIDEBAR": {"show_search": False, "navigation": "ginkgo_site.admin_menu.navigation"},
    # The green of a leaf, dark enough at 600 for white text on it.
    "COLORS": {
        "primary": {
            "50": "oklch(97.9% .021 166.113)",
            "100": "oklch(95% .052 163.051)",
            "200": "oklch(90.5% .093 164.15)",
            "300": "oklch(84.5% .143 164.978)",
            "400": "oklch(76.5% .177 163.223)",
            "500": "oklch(59.6% .145 163.225)",
            "600": "oklch(50.8% .118 165.612)",
            "700": "oklch(43.2% .095 166.913)",
            "800": "oklch(37.8% .077 168.94)",
            "900": "oklch(32% .064 170)",
            "950": "oklch(26.2% .051 172.552)",
        }
    },
}

# Celery. Results are not used: commands report their fate to MySQL (SPEC S7).
CELERY_BROKER_URL = ADDRESSES.redis or "redis://127.0.0.1:1/0"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = "scheduler"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Tasks wait for servers, not for the processor; while one watches a move for half a minute, others must be done.
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = 3
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# A command that is cut off with the broker is done by reconciliation; acknowledging it late would repeat it.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True


# What opens history as a backtest's prices: portfolios lies below market, and knows it by this name alone.
GINKGO_HISTORY = "market.history.source.open_history"
# What judges a backtest's orders as the engine would, by its name for the same reason.
GINKGO_PRETRADE = "market.backtest_gate.EngineGate"


def GINKGO_RESOLVE() -> Addresses:
    """The servers' addresses as of now: the embedded stack may have started after these settings were read."""
    return resolve(GINKGO)
