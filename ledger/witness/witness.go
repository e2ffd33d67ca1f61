package witness

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/ledger"
)

const (
	// maxRequest bounds add-checkpoint: a checkpoint and a proof of 63 lines.
	maxRequest = ledger.MaxCheckpoint + 63*45 + 64
	// cosignature is the type of a witness's key (C2SP tlog-cosignature).
	cosignature = 4
)

// WitnessConfig is what a Witness needs.
type WitnessConfig struct {
	// Dir keeps the latest checkpoint of each log.
	Dir string
	// Key cosigns. Its name is the witness's.
	Key ledger.Key
	// Logs are the keys of each log that is witnessed, by its origin.
	Logs map[string]ledger.Keyring
	// Now is the clock.
	Now func() time.Time
}

// Witness takes checkpoints of other ledgers and keeps the latest of each that continues the one before; it serves POST
// /add-checkpoint of C2SP tlog-witness and answers with its cosignature. It does not authenticate: the log's signature does.
type Witness struct {
	cfg    WitnessConfig
	public []byte // Ed25519

	mu sync.Mutex // held while one checkpoint is judged and kept
}

// NewWitness makes a Witness.
func NewWitness(cfg WitnessConfig) (*Witness, error) {
	if cfg.Dir == "" || cfg.Key.Signer == nil || cfg.Now == nil {
		return nil, errors.New("make a witness: want a folder, a key and a clock")
	}
	parts := strings.SplitN(cfg.Key.Public, "+", 3) // name, hash, key
	key, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(key) != 33 {
		return nil, fmt.Errorf("make a witness: %w: want an Ed25519 key", ledger.ErrKey)
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make a witness: %w", err)
	}
	return &Witness{cfg: cfg, public: key[1:]}, nil
}

// ServeHTTP implements http.Handler.
func (w *Witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/add-checkpoint" || r.Method != http.MethodPost {
		http.Error(out, "want POST /add-checkpoint", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(out, r.Body, maxRequest))
	if err != nil {
		http.Error(out, fmt.Sprintf("want at most %d bytes", maxRequest), http.StatusRequestEntityTooLarge)
		return
	}
	old, proof, checkpoint, err := parseRequest(body)
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	code, text := w.add(old, proof, checkpoint)
	if code == http.StatusConflict {
		out.Header().Set("Content-Type", sizeType)
	} else {
		out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	out.WriteHeader(code)
	_, _ = io.WriteString(out, text+"\n") // the caller has gone; there is nobody to tell
}

// add judges a checkpoint, keeps it, and is the answer.
func (w *Witness) add(old int64, proof tlog.TreeProof, checkpoint []byte) (code int, text string) {
	origin, _, err := ledger.ParseCheckpoint(string(checkpoint))
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	keys, ok := w.cfg.Logs[origin]
	if !ok {
		return http.StatusNotFound, "this log is not witnessed here"
	}
	tree, err := ledger.OpenCheckpoint(checkpoint, keys)
	if err != nil {
		return http.StatusForbidden, err.Error()
	}
	if old > tree.N {
		return http.StatusBadRequest, fmt.Sprintf("found old %d; want at most the checkpoint's %d", old, tree.N)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, err := w.last(origin, keys)
	switch {
	case err != nil:
		return http.StatusInternalServerError, "the latest checkpoint cannot be read"
	case last.N != old || last.N == tree.N && last.N > 0 && last.Hash != tree.Hash:
		return http.StatusConflict, fmt.Sprint(last.N)
	}
	if err := ledger.CheckGrowth(proof, last, tree); last.N > 0 && err != nil {
		return http.StatusUnprocessableEntity, err.Error()
	}
	line, err := w.cosign(checkpoint)
	if err != nil {
		return http.StatusInternalServerError, "the checkpoint cannot be cosigned"
	}
	if err := durable.Replace(w.path(origin), checkpoint, 0o640); err != nil {
		return http.StatusInternalServerError, "the checkpoint cannot be kept"
	}
	return http.StatusOK, line
}

// path is where the latest checkpoint of a log is.
func (w *Witness) path(origin string) string {
	return filepath.Join(w.cfg.Dir, fmt.Sprintf("%x.checkpoint", sha256.Sum256([]byte(origin))))
}

// last is the tree that was seen last, empty before the first.
func (w *Witness) last(origin string, keys ledger.Keyring) (tlog.Tree, error) {
	text, err := os.ReadFile(w.path(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return tlog.Tree{}, nil
	}
	if err != nil {
		return tlog.Tree{}, err
	}
	return ledger.OpenCheckpoint(text, keys)
}

// Latest is the latest checkpoint of a log that was seen; what is not there wraps fs.ErrNotExist.
func (w *Witness) Latest(origin string) ([]byte, error) {
	text, err := os.ReadFile(w.path(origin))
	if err != nil {
		return nil, fmt.Errorf("read what was witnessed of %s: %w", origin, err)
	}
	return text, nil
}

// cosign is the line of a cosignature (C2SP tlog-cosignature v1) over a checkpoint's text.
func (w *Witness) cosign(checkpoint []byte) (string, error) {
	text, _, ok := strings.Cut(string(checkpoint), "\n\n")
	if !ok {
		return "", ledger.ErrCheckpoint
	}
	at := w.cfg.Now().Unix()
	signature, err := w.cfg.Key.Sign(fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(append([]byte(w.cfg.Key.Name()+"\n"), append([]byte{cosignature}, w.public...)...))
	out := append(hash[:4:4], binary.BigEndian.AppendUint64(nil, uint64(at))...)
	return "— " + w.cfg.Key.Name() + " " + base64.StdEncoding.EncodeToString(append(out, signature...)), nil
}

var _ http.Handler = (*Witness)(nil)
