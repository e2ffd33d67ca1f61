package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"ringfence.dev/ringfence/record"
)

// RotationKind is the kind of the record that says that one key follows another.
const RotationKind = "key-rotation.v1"

// rotation is its body.
type rotation struct {
	// Origin is the ledger's name.
	Origin string `json:"origin"`
	// Old and New are verifier keys.
	Old string `json:"old"`
	New string `json:"new"`
	// Proof is a signed note of the old key over the new one.
	Proof string `json:"proof"`
}

// rotationText is what the old key signs. It is no checkpoint: the second line is no number.
func rotationText(old, next string) string {
	return "ringfence.dev/key-rotation/v1\nold " + old + "\nnew " + next + "\n"
}

// Rotate makes another key the one that signs. A record of it, signed by the old key, goes into the log, then the key into the
// keyring; what the old keys signed stays verifiable. The new key must have the old one's name. When it fails halfway it is
// called again with the same key; where the ledger opens with the new key it was done.
func (l *Log) Rotate(next Key, cluster string, now time.Time) error {
	if err := l.rotate(next, cluster, now); err != nil {
		return fmt.Errorf("rotate the ledger's key: %w", err)
	}
	return nil
}

func (l *Log) rotate(next Key, cluster string, now time.Time) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	old := l.Keyring()
	if slices.Contains(old, next.Public) {
		return fmt.Errorf("%w: %s is in the keyring already", ErrKey, next.Public)
	}
	ring, err := ParseKeyring(append(old.text(), next.Public...))
	if err != nil {
		return err
	}
	r, err := rotationRecord(l.key, next, now)
	if err != nil {
		return err
	}
	r.Cluster, r.Seq = cluster, uint64(len(old))
	entry, err := Encode(r)
	if err != nil {
		return err
	}
	q := &request{records: []record.Record{r}, entries: [][]byte{entry}, done: make(chan struct{})}
	l.commit([]*request{q})
	if q.err != nil {
		return q.err
	}
	if err := l.dir.replace(keyringFile, ring.text()); err != nil {
		return err
	}
	l.mu.Lock()
	l.ring = ring
	l.mu.Unlock()
	l.key = next
	if err := l.sign(); err != nil {
		l.broken, l.failed = err, time.Now()
		return err
	}
	return nil
}

// rotationRecord is the record that one key follows another. It has the same id when it is made again.
func rotationRecord(key, next Key, now time.Time) (record.Record, error) {
	proof, err := note.Sign(&note.Note{Text: rotationText(key.Public, next.Public)}, key)
	if err != nil {
		return record.Record{}, err
	}
	body, err := json.Marshal(rotation{Origin: key.Name(), Old: key.Public, New: next.Public, Proof: string(proof)})
	if err != nil {
		return record.Record{}, err
	}
	sum := sha256.Sum256([]byte(key.Public + "\n" + next.Public))
	return record.Record{ID: "key-rotation:" + hex.EncodeToString(sum[:16]), Producer: "ledger", Time: now.UTC(), Kind: RotationKind, Body: body}, nil
}

// Follow is the keyring after a record of a key rotation, which the last key must have signed. It does not change k.
func (k Keyring) Follow(r record.Record) (Keyring, error) {
	old, next, err := readRotation(r)
	if err != nil {
		return nil, err
	}
	if len(k) == 0 || k[len(k)-1] != old {
		return nil, fmt.Errorf("%w: the key rotation is from %s, which was not in force", ErrKey, old)
	}
	return ParseKeyring(append(k.text(), next...))
}

// readRotation reads a rotation and verifies that the old key signed it.
func readRotation(r record.Record) (old, next string, err error) {
	var body rotation
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return "", "", fmt.Errorf("read a key rotation: %w", err)
	}
	ring, err := ParseKeyring([]byte(body.Old))
	if err != nil {
		return "", "", fmt.Errorf("read a key rotation: %w", err)
	}
	n, err := note.Open([]byte(body.Proof), ring.verifiers())
	if err != nil || n.Text != rotationText(body.Old, body.New) {
		return "", "", errors.New("read a key rotation: the old key did not sign it")
	}
	return body.Old, body.New, nil
}
