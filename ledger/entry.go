package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"ringfence.dev/ringfence/record"
)

const (
	// StatementType is the "_type" of every entry, in-toto's attestation framework v1.
	StatementType = "https://in-toto.io/Statement/v1"
	// PredicatePrefix begins the predicateType of every entry; the record's kind follows.
	PredicatePrefix = "https://ringfence.dev/evidence/"
	// MaxEntry is the most bytes that an entry may have: its length stands in two bytes of a bundle (C2SP tlog-tiles).
	MaxEntry = 1<<16 - 1
)

var (
	// ErrTooLarge is wrapped by Append for a record that is more than MaxEntry bytes as an entry.
	ErrTooLarge = errors.New("the record is too large for the ledger")
	// ErrEntry is wrapped by Decode for bytes that are not an entry of this ledger.
	ErrEntry = errors.New("this is no entry of a ledger")
)

// statement is an entry as it is read.
type statement struct {
	Type          string        `json:"_type"`
	Predicate     record.Record `json:"predicate"`
	PredicateType string        `json:"predicateType"`
	Subject       []struct {
		Digest struct {
			SHA256 string `json:"sha256"`
		} `json:"digest"`
		Name string `json:"name"`
	} `json:"subject"`
}

// Encode writes a record as an entry: an in-toto Statement in canonical JSON. Its predicate is the envelope, its subject
// the record's id with the SHA-256 of the predicate's canonical form. The same record always gives the same bytes.
func Encode(r record.Record) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	envelope, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record %s: %w", r.ID, err)
	}
	predicate, err := Canonical(envelope)
	if err != nil {
		return nil, fmt.Errorf("encode record %s: %w", r.ID, err)
	}
	entry := wrap(r, predicate)
	if len(entry) > MaxEntry {
		return nil, fmt.Errorf("encode record %s: %w: found %d bytes; want at most %d", r.ID, ErrTooLarge, len(entry), MaxEntry)
	}
	return entry, nil
}

// wrap writes the statement round a predicate. Its names are in canonical order, and id and kind need no escapes.
func wrap(r record.Record, predicate []byte) []byte {
	sum := sha256.Sum256(predicate)
	var out bytes.Buffer
	out.Grow(len(predicate) + 320)
	out.WriteString(`{"_type":"` + StatementType + `","predicate":`)
	out.Write(predicate)
	out.WriteString(`,"predicateType":"` + PredicatePrefix + r.Kind + `","subject":[{"digest":{"sha256":"` +
		hex.EncodeToString(sum[:]) + `"},"name":"` + r.ID + `"}]}`)
	return out.Bytes()
}

// Decode reads an entry. Anything but the bytes that Encode writes wraps ErrEntry.
func Decode(entry []byte) (record.Record, error) {
	var s statement
	if err := json.Unmarshal(entry, &s); err != nil {
		return record.Record{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	kind, ours := strings.CutPrefix(s.PredicateType, PredicatePrefix)
	if s.Type != StatementType || !ours || kind != s.Predicate.Kind {
		return record.Record{}, fmt.Errorf("%w: found _type %.80q with predicateType %.80q", ErrEntry, s.Type, s.PredicateType)
	}
	again, err := Encode(s.Predicate)
	if err != nil {
		return record.Record{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	if !bytes.Equal(again, entry) {
		return record.Record{}, fmt.Errorf("%w: it is not in canonical form, or its digest is another", ErrEntry)
	}
	return s.Predicate, nil
}

// bundle appends an entry as it stands in a bundle: two bytes of length, big-endian, then the entry.
func bundle(to, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(to, uint16(len(entry))), entry...)
}

// split reads the entries of a bundle. What is left over, less than an entry, is returned as rest.
func split(data []byte) (entries [][]byte, rest []byte) {
	for len(data) >= 2 {
		n := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+n {
			break
		}
		entries, data = append(entries, data[2:2+n:2+n]), data[2+n:]
	}
	return entries, data
}
