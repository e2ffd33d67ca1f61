package portal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/durable"
)

const (
	// idle and absolute are how long a session lasts unused, and at all.
	idle, absolute = 30 * time.Minute, 8 * time.Hour
	// fresh is how long a session believes the groups of an ID token, known how long a token believes those of its owner. Both end
	// at once where the person signs in anew with other groups.
	fresh, known = time.Hour, 7 * 24 * time.Hour
	// skew is how far the clock may go back.
	skew = 5 * time.Minute
	// touched is how exactly the last use is kept.
	touched = time.Minute
	// remembered is how long is kept that somebody's access was revoked: far longer than an ID token lives.
	remembered = 90 * 24 * time.Hour
	// maxAccounts people are kept, each with so many sessions and tokens, in files of maxAccount and maxKept bytes together.
	maxAccounts, maxSessions, maxTokens = 10_000, 10, 20
	maxAccount, maxKept                 = 2 << 20, 64 << 20
)

// errFull is returned where no more people can be kept.
var errFull = errors.New("no more people can be kept")

// session is one sign-in. What the browser shows is kept as its hash alone.
type session struct {
	ID, Hash              string
	Began, Used, SignedIn time.Time
	MFA                   bool
	Agent                 string
}

// token is one credential of a program, of a person.
type token struct {
	ID, Hash, Name      string
	Scopes              []string
	Made, Used, Expires time.Time
}

// account is one person as last verified, and what they hold. One that is in accounts is never changed.
type account struct {
	Person   identity.Person
	Verified time.Time
	Revoked  time.Time
	Sessions []session
	Tokens   []token
}

// ends says why a session counts no longer, or "".
func (s session) ends(a *account, now time.Time) string {
	switch {
	case now.Sub(s.Used) >= idle, now.Sub(s.Began) >= absolute, s.Used.Sub(now) > skew, s.Began.Sub(now) > skew:
		return whyEnded
	case now.Sub(a.Verified) >= fresh, a.Verified.Sub(now) > skew:
		return whyStale
	}
	return ""
}

// ends says why a token counts no longer, or "".
func (t token) ends(a *account, now time.Time) string {
	switch {
	case !now.Before(t.Expires), t.Made.Sub(now) > skew:
		return whyEnded
	case now.Sub(a.Verified) >= known, a.Verified.Sub(now) > skew:
		return whyStale
	}
	return ""
}

// live is what has not ended for good by a time: an account whose groups are stale keeps what it holds.
func (a *account) live(now time.Time) {
	a.Sessions = slices.DeleteFunc(a.Sessions, func(s session) bool { return now.Sub(s.Used) >= idle || now.Sub(s.Began) >= absolute })
	a.Tokens = slices.DeleteFunc(a.Tokens, func(t token) bool { return !now.Before(t.Expires) })
}

// accounts are the people who hold something, one file each, replaced whole: what was answered survives a kill at any moment.
type accounts struct {
	dir string

	mu    sync.RWMutex // guards what follows
	all   map[string]*account
	sizes map[string]int
	bytes int
	owner map[string]string // of the hash of a session or token: the key of its account
	swept time.Time
}

// keyOf is the key of an account, and the name of its file.
func keyOf(p identity.Person) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s\n%s", len(p.Issuer), p.Issuer, p.Subject))
	return hex.EncodeToString(sum[:])
}

// secret is a new credential and its hash. It has 256 random bits.
func secret(prefix string) (shown, hash string) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // it never fails
	shown = prefix + base64.RawURLEncoding.EncodeToString(raw)
	return shown, hashed(shown)
}

// hashed is what is kept of a credential. A plain hash is enough of 256 random bits.
func hashed(shown string) string {
	sum := sha256.Sum256([]byte(shown))
	return hex.EncodeToString(sum[:])
}

func openAccounts(dir string) (*accounts, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	kept := &accounts{dir: dir, all: map[string]*account{}, sizes: map[string]int{}, owner: map[string]string{}}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		key, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			if strings.HasSuffix(e.Name(), ".json.new") { // unfinished when the process was killed: nobody was answered
				err = errors.Join(err, os.Remove(path))
			}
			continue
		}
		text, broken := os.ReadFile(path)
		var a account
		if broken == nil {
			broken = json.Unmarshal(text, &a)
		}
		if broken == nil && keyOf(a.Person) != key {
			broken = errors.New("it is of somebody else")
		}
		if broken != nil {
			err = errors.Join(err, fmt.Errorf("read %s: %w; want it as it was written: take it from a backup, or remove it: that person signs in again and makes new tokens", path, broken))
			continue
		}
		kept.put(key, &a, len(text))
	}
	return kept, err
}

// put makes an account the one of a key; nil takes it away. mu is held, or nobody else has it yet.
func (k *accounts) put(key string, a *account, size int) {
	if old := k.all[key]; old != nil {
		for _, s := range old.Sessions {
			delete(k.owner, s.Hash)
		}
		for _, t := range old.Tokens {
			delete(k.owner, t.Hash)
		}
	}
	k.bytes += size - k.sizes[key]
	if a == nil {
		delete(k.all, key)
		delete(k.sizes, key)
		return
	}
	k.all[key], k.sizes[key] = a, size
	for _, s := range a.Sessions {
		k.owner[s.Hash] = key
	}
	for _, t := range a.Tokens {
		k.owner[t.Hash] = key
	}
}

// find is the account of a credential's hash; nil where there is none.
func (k *accounts) find(hash string) *account {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.all[k.owner[hash]]
}

// of is the account of a person; nil where there is none.
func (k *accounts) of(p identity.Person) *account {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.all[keyOf(p)]
}

// named are the accounts of a person by subject, object or name: one person may have several.
func (k *accounts) named(subject string) (out []*account) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, a := range k.all {
		if subject != "" && (a.Person.Subject == subject || a.Person.Object == subject || a.Person.Name == subject) {
			out = append(out, a)
		}
	}
	return out
}

func (k *accounts) count() (sessions, tokens int) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, a := range k.all {
		sessions, tokens = sessions+len(a.Sessions), tokens+len(a.Tokens)
	}
	return sessions, tokens
}

// change writes what do makes of a person's account, and returns once it is on the disk. Where that fails nothing is changed, but that
// what is taken away no longer counts until this process ends.
func (k *accounts) change(of identity.Person, now time.Time, do func(*account) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := keyOf(of)
	next := &account{Person: of}
	old := k.all[key]
	if old != nil {
		*next = *old
		next.Sessions, next.Tokens = slices.Clone(old.Sessions), slices.Clone(old.Tokens)
	} else if err := k.sweep(now); err != nil {
		return err
	}
	if err := do(next); err != nil {
		return err
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	fewer := old != nil && len(next.Sessions)+len(next.Tokens) < len(old.Sessions)+len(old.Tokens)
	if !fewer && (len(text) > maxAccount || k.bytes-k.sizes[key]+len(text) > maxKept) {
		return errFull
	}
	err = durable.Replace(filepath.Join(k.dir, key+".json"), text, 0o600)
	if err == nil || fewer {
		k.put(key, next, len(text))
	}
	return err
}

// sweep forgets people who hold nothing, once an hour and where there is no room. mu is held.
func (k *accounts) sweep(now time.Time) error {
	if len(k.all) < maxAccounts && now.Sub(k.swept) < time.Hour {
		return nil
	}
	k.swept = now
	for _, key := range slices.Collect(maps.Keys(k.all)) {
		a := *k.all[key]
		a.Sessions, a.Tokens = slices.Clone(a.Sessions), slices.Clone(a.Tokens)
		a.live(now)
		if len(a.Sessions)+len(a.Tokens) > 0 || now.Sub(a.Revoked) < remembered {
			continue
		}
		if err := os.Remove(filepath.Join(k.dir, key+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		k.put(key, nil, 0)
	}
	if len(k.all) >= maxAccounts {
		return errFull
	}
	return nil
}
