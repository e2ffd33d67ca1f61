// Package token signs checkpoints with an Ed25519 key that never leaves a token: an HSM or a smart card with a PKCS#11 module.
// It starts OpenSC's pkcs11-tool for every signature, because a module is loaded as C code and Ringfence holds none. The PIN
// goes to it over a terminal of its own, and so into no argument, no environment and no log. It makes no key and no token.
//
// The control plane opens the ledger with it, and `ringfence evidence rotate` changes keys.
package token

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
)

const (
	// Prefix is how the address of a key in a token begins.
	Prefix = "pkcs11:"
	// program is OpenSC's, Debian package opensc.
	program = "pkcs11-tool"
	// timeout bounds one signature: HSMs over a network take some 10 ms, smart cards up to a second.
	timeout = 15 * time.Second
	// maxMessage is what pkcs11-tool reads for one signature. A checkpoint has about 120 bytes, a rotation about 400.
	maxMessage = 1024
	// maxPIN bounds a PIN; maxAnswer what the program may say.
	maxPIN, maxAnswer = 255, 16 << 10
)

var (
	// ErrToken is wrapped where the token did not do what was asked: it is gone, or has no such key.
	ErrToken = errors.New("the token cannot be used")
	// ErrPIN is wrapped where the token refused the PIN. It is not asked again with the same one, since a token locks itself
	// after some wrong ones.
	ErrPIN = errors.New("the token refused the PIN")
)

// returned finds what PKCS#11 said in the output of pkcs11-tool.
var returned = regexp.MustCompile(`CKR_[A-Z0-9_]{1,60}`)

// Open finds the key that a PKCS#11 URI names, and asks the token for its public part. The key is given a name, the ledger's
// origin. Errors wrap ErrURI, ErrToken, ErrPIN or ledger.ErrKey, and never hold the PIN.
func Open(ctx context.Context, uri, name string) (ledger.Key, error) {
	at, err := parseURI(uri)
	if err != nil {
		return ledger.Key{}, err
	}
	s := &signer{at: at, name: name}
	public, err := s.readPublic(ctx)
	if err != nil {
		return ledger.Key{}, fmt.Errorf("read the public key in token %s: %w", finding.Value(at.token), err)
	}
	verifier, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return ledger.Key{}, fmt.Errorf("name the key in token %s: %w: %w", finding.Value(at.token), ledger.ErrKey, err)
	}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return ledger.Key{}, fmt.Errorf("name the key in token %s: %w: %w", finding.Value(at.token), ledger.ErrKey, err)
	}
	s.public, s.hash = public, v.KeyHash()
	return ledger.Key{Signer: s, Public: verifier}, nil
}

// signer signs with a key in a token.
type signer struct {
	at     address
	name   string
	hash   uint32
	public ed25519.PublicKey

	mu      sync.Mutex // one signature at a time, as a ledger asks; guards what follows
	refused [sha256.Size]byte
	code    string // what the token said of the PIN of which refused is the digest; "" for none
}

var _ note.Signer = (*signer)(nil)

// Name implements note.Signer.
func (s *signer) Name() string { return s.name }

// KeyHash implements note.Signer.
func (s *signer) KeyHash() uint32 { return s.hash }

// Sign implements note.Signer. A signature that does not verify is an error and never leaves here.
func (s *signer) Sign(message []byte) ([]byte, error) {
	if len(message) > maxMessage {
		return nil, fmt.Errorf("sign in token %s: %w: found %d bytes; want at most %d", finding.Value(s.at.token), ErrToken, len(message), maxMessage)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	signature, err := s.run(ctx, message, "--sign", "--mechanism=EDDSA", "--input-file=/dev/fd/3", "--output-file=/dev/fd/4")
	if err == nil && !(len(signature) == ed25519.SignatureSize && ed25519.Verify(s.public, message, signature)) {
		err = fmt.Errorf("%w: the signature does not verify with the public key that it gave; another key may have the same label", ErrToken)
	}
	if err != nil {
		return nil, fmt.Errorf("sign in token %s: %w", finding.Value(s.at.token), err)
	}
	return signature, nil
}

// readPublic is the public part of the key, which must be Ed25519.
func (s *signer) readPublic(ctx context.Context) (ed25519.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := s.run(ctx, nil, "--read-object", "--type=pubkey", "--output-file=/dev/fd/4")
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	key, err := x509.ParsePKIXPublicKey(text)
	public, ok := key.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: found no Ed25519 key there; make one: %s --keypairgen --key-type EC:edwards25519", ledger.ErrKey, program)
	}
	return public, nil
}

// run starts the program, and is what it wrote to the file 4. input is what it may read of the file 3.
func (s *signer) run(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pin, err := readPIN(s.at.pin)
	if err != nil {
		return nil, err
	}
	if s.code != "" && s.refused == sha256.Sum256(pin) {
		return nil, s.pinFault()
	}
	out, said, err := start(ctx, append(s.at.arguments(), args...), input, pin)
	if err == nil {
		return out, nil
	}
	text := strings.ReplaceAll(string(said), string(pin), "(PIN)")
	code := returned.FindString(text)
	switch {
	case strings.HasPrefix(code, "CKR_PIN_"):
		s.refused, s.code = sha256.Sum256(pin), code
		return nil, s.pinFault()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: it did not answer within %v", ErrToken, timeout)
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: %s is not installed here; install it: Debian package opensc", ErrToken, program)
	case code == "":
		code = finding.Value(strings.TrimSpace(text))
	}
	return nil, fmt.Errorf("%w: %s says %s (%w); is it there, and has it the key? see \"Token gone\" in docs/runbook.md", ErrToken, program, code, err)
}

// pinFault is the error of a PIN that was refused.
func (s *signer) pinFault() error {
	return fmt.Errorf("%w: %s; write the right one to %s: the token is not asked again before that file changes", ErrPIN, s.code, s.at.pin)
}

// readPIN reads a PIN from a file that nobody else may read.
func readPIN(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the PIN: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read the PIN in %s: found mode %v; want a file that only its owner may read: chmod 600 %s", path, mode, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the PIN: %w", err)
	}
	pin := bytes.TrimRight(text, "\r\n")
	if len(pin) == 0 || len(pin) > maxPIN || bytes.ContainsFunc(pin, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("read the PIN in %s: want one line of 1 to %d characters", path, maxPIN)
	}
	return pin, nil
}
