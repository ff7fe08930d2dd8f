from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest
import trustme

from scripts.client.trust import CA_FILE, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ca"
    folder.mkdir()
    trustme.CA(organization_name="proxy").cert_pem.write_to_path(folder / CA_FILE)
    return folder


def authorities(bundle: Path) -> int:
    return len(ssl.create_default_context(cafile=str(bundle)).get_ca_certs())


def test_bundle_holds_the_usual_authorities_and_the_proxys(folder: Path) -> None:
    bundle = write_bundle(folder, {})
    assert authorities(bundle) == authorities(Path(certifi.where())) + 1


def test_a_companys_own_authority_is_kept(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    trustme.CA(organization_name="company").cert_pem.write_to_path(own)
    before = authorities(write_bundle(folder, {}))
    assert authorities(write_bundle(folder, {"SSL_CERT_FILE": str(own)})) == before + 1
    assert authorities(write_bundle(folder, {"REQUESTS_CA_BUNDLE": str(own)})) == before + 1


def test_our_own_bundle_and_a_missing_file_add_nothing(folder: Path, tmp_path: Path) -> None:
    bundle = write_bundle(folder, {})
    before = bundle.read_bytes()
    write_bundle(folder, {"SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(tmp_path / "missing.pem")})
    assert bundle.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted(["bundle.pem", CA_FILE])
