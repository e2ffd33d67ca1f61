package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"ringfence.dev/ringfence/internal/durable"
)

// maxKeyFile bounds a key file or keyring: one line of some hundred bytes a key, a key a month for decades.
const maxKeyFile = 1 << 16

var (
	// ErrKey is wrapped by every error about a key that cannot be used.
	ErrKey = errors.New("the ledger's key cannot be used")
	// ErrWrongKey is wrapped where a key is sound and another one is wanted.
	ErrWrongKey = errors.New("this is not the ledger's key")
)

// Key is what signs checkpoints: a note.Signer and the verifier for what it signs. Another holder of the private key, for
// instance a hardware module, gives its own Signer.
type Key struct {
	note.Signer
	// Public is the verifier key, for instance "ringfence.dev/ledger/prod+1a2b3c4d+AZ...".
	Public string
}

// NewKey makes an Ed25519 key with a name and writes it to a new file that only its owner may read. The name is the
// ledger's origin, the first line of every checkpoint: a domain and a path, different for every ledger.
func NewKey(path, name string) (Key, error) {
	private, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return Key{}, fmt.Errorf("make a key: %w: %w", ErrKey, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	_, err = f.WriteString(private + "\n")
	if err := errors.Join(err, f.Sync(), f.Close(), durable.SyncFolder(filepath.Dir(path))); err != nil {
		return Key{}, fmt.Errorf("make a key: %w", err)
	}
	return parseKey(private)
}

// LoadKey reads a key that NewKey wrote. A file that others than its owner may read is refused; the error never holds what
// is in the file.
func LoadKey(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("read the ledger's key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("read the ledger's key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return Key{}, fmt.Errorf("read %s: %w: found mode %v; want a file that only its owner may read: chmod 600 %s", path, ErrKey, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("read the ledger's key: %w", err)
	}
	key, err := parseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return Key{}, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

// parseKey reads "PRIVATE+KEY+name+hash+secret".
func parseKey(private string) (Key, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return Key{}, fmt.Errorf("%w: found no Ed25519 note key (PRIVATE+KEY+name+hash+...)", ErrKey)
	}
	public, err := publicOf(private)
	if err != nil {
		return Key{}, err
	}
	return Key{Signer: signer, Public: public}, nil
}

// publicOf is the verifier key of a private key that package note accepts.
func publicOf(private string) (string, error) {
	parts := strings.SplitN(private, "+", 5) // PRIVATE, KEY, name, hash, secret
	secret, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(parts) != 5 || len(secret) != 1+ed25519.SeedSize {
		return "", fmt.Errorf("%w: found no Ed25519 note key (PRIVATE+KEY+name+hash+...)", ErrKey)
	}
	public, _ := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(parts[2], public)
}

// Keyring are the verifier keys of a ledger, oldest first. The last one signs; the others verify what was signed before.
type Keyring []string

// ParseKeyring reads one verifier key a line. All must have the same name.
func ParseKeyring(text []byte) (Keyring, error) {
	var ring Keyring
	origin := ""
	for number, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		verifier, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("keyring line %d: %w: found %.80q; want name+hash+key", number+1, ErrKey, line)
		}
		if origin != "" && verifier.Name() != origin {
			return nil, fmt.Errorf("keyring line %d: %w: found the name %.80q; want %s as in line 1", number+1, ErrKey, verifier.Name(), origin)
		}
		origin = verifier.Name()
		ring = append(ring, line)
	}
	return ring, nil
}

// Origin is the name of the keys, the first line of every checkpoint.
func (k Keyring) Origin() string {
	if len(k) == 0 {
		return ""
	}
	name, _, _ := strings.Cut(k[0], "+")
	return name
}

// verifiers are the keys as package note wants them.
func (k Keyring) verifiers() note.Verifiers {
	var list []note.Verifier
	for _, key := range k {
		if v, err := note.NewVerifier(key); err == nil { // ParseKeyring has read it
			list = append(list, v)
		}
	}
	return note.VerifierList(list...)
}

// text is the keyring as a file.
func (k Keyring) text() []byte {
	var b bytes.Buffer
	for _, key := range k {
		b.WriteString(key + "\n")
	}
	return b.Bytes()
}
