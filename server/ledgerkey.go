package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/ledger"
	pkcs11 "ringfence.dev/ringfence/ledger/token"
)

// ledgerName begins the names of new ledgers.
const ledgerName = "ringfence.dev/ledger/"

// OpenLedgerKey is the key that signs the ledger in a folder of evidence: the one in a token that an address pkcs11:... names, or
// that of a file; "" is ledger.key in the folder. It has the name of the ledger that is there, or a new one. A new ledger is
// given a new key file; a ledger whose key is gone is not given another one.
func OpenLedgerKey(ctx context.Context, dir, source string) (ledger.Key, error) {
	name, err := ledgerOrigin(dir)
	if err != nil {
		return ledger.Key{}, err
	}
	if strings.HasPrefix(source, pkcs11.Prefix) {
		if name == "" {
			name = newName(ledgerName)
		}
		return pkcs11.Open(ctx, source, name)
	}
	if source == "" {
		source = filepath.Join(dir, "ledger.key")
	}
	if _, err := os.Lstat(source); name != "" && errors.Is(err, fs.ErrNotExist) {
		return ledger.Key{}, fmt.Errorf("open the ledger: %s is missing, and the ledger beside it was signed with it; put it back, or name what signs it now with --ledger-key", source)
	}
	return loadOrMakeKey(source, ledgerName)
}

// NextLedgerKey is the key to which the ledger in a folder is to be rotated: one in a token, or that of a file, which is made
// where it is missing.
func NextLedgerKey(ctx context.Context, dir, source string) (ledger.Key, error) {
	name, err := ledgerOrigin(dir)
	if err == nil && name == "" {
		err = fmt.Errorf("rotate the ledger's key: %w: there is no ledger in %s", fs.ErrNotExist, dir)
	}
	if err != nil {
		return ledger.Key{}, err
	}
	if strings.HasPrefix(source, pkcs11.Prefix) {
		return pkcs11.Open(ctx, source, name)
	}
	key, err := ledger.LoadKey(source)
	if errors.Is(err, fs.ErrNotExist) {
		return ledger.NewKey(source, name)
	}
	return key, err
}

// ledgerOrigin is the name of the ledger in a folder of evidence, "" where there is none.
func ledgerOrigin(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "ledger", "keyring"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the ledger's keyring: %w", err)
	}
	ring, err := ledger.ParseKeyring(text)
	if err != nil {
		return "", fmt.Errorf("read the ledger's keyring: %w", err)
	}
	return ring.Origin(), nil
}

// newName is a name that nothing else has.
func newName(prefix string) string { return prefix + strings.ToLower(rand.Text()[:12]) }
