package login

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/internal/durable"
)

// maxKept bounds a file: an ID token with its groups, and a token to renew it.
const maxKept = 2 << 20

// Settings say how a sign-in was made, so that it can be renewed. They hold no secret.
type Settings struct {
	Issuer      string `json:"issuer"`
	ClientID    string `json:"clientID"`
	Directory   string `json:"directory,omitempty"`
	UserClaim   string `json:"userClaim,omitempty"`
	UserPrefix  string `json:"userPrefix,omitempty"`
	GroupsClaim string `json:"groupsClaim,omitempty"`
	MFA         string `json:"mfa,omitempty"`
	CAFile      string `json:"caFile,omitempty"`
}

// Kept is a sign-in as it stands in its file.
type Kept struct {
	Settings Settings `json:"settings"`
	// Issuer and Subject are whose it is.
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	// IDToken counts until Expires. RefreshToken renews it, where it is not "".
	IDToken      string    `json:"idToken"`
	RefreshToken string    `json:"refreshToken,omitempty"`
	Expires      time.Time `json:"expires"`
}

// Keep is what is kept of a sign-in.
func Keep(s Settings, in *SignedIn) *Kept {
	return &Kept{Settings: s, Issuer: in.Person.Issuer, Subject: in.Person.Subject, IDToken: in.Tokens.ID, RefreshToken: in.Tokens.Refresh, Expires: in.Person.Expires}
}

// Format shows nothing of the tokens.
func (k *Kept) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redacted")) }

// Person is whose sign-in it is, for Renew.
func (k *Kept) Person() identity.Person { return identity.Person{Issuer: k.Issuer, Subject: k.Subject} }

// Folder is where this user's sign-ins are kept. It need not be there.
type Folder string

// UserFolder is that of the user who runs the program: ringfence/login in his folder of settings.
func UserFolder() (Folder, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of settings: %w; set XDG_CONFIG_HOME", err)
	}
	return Folder(filepath.Join(config, "ringfence", "login")), nil
}

// path is the file of a provider's client.
func (f Folder) path(issuer, clientID string) string {
	sum := sha256.Sum256([]byte(issuer + "\n" + clientID))
	return filepath.Join(string(f), hex.EncodeToString(sum[:8])+".json")
}

// Save keeps a sign-in, readable by its user alone.
func (f Folder) Save(k *Kept) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("keep the sign-in: %w", err)
	}
	text, err := json.Marshal(k)
	if err != nil {
		return errors.New("keep the sign-in: it cannot be written as JSON")
	}
	if err := durable.Replace(f.path(k.Settings.Issuer, k.Settings.ClientID), text, 0o600); err != nil {
		return fmt.Errorf("keep the sign-in: %w", err)
	}
	return nil
}

// List are the sign-ins that are kept. A file that cannot be used is an error, beside the others.
func (f Folder) List() (kept []*Kept, err error) {
	paths, err := filepath.Glob(filepath.Join(string(f), "*.json"))
	var faults []error
	for _, path := range paths {
		k, err := read(path)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		kept = append(kept, k)
	}
	return kept, errors.Join(append(faults, err)...)
}

// Load is the sign-in of a provider's client; nil where there is none.
func (f Folder) Load(issuer, clientID string) (*Kept, error) {
	k, err := read(f.path(issuer, clientID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return k, err
}

// read reads a file that nobody else may read.
func read(path string) (*Kept, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a sign-in: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read a sign-in: %w", err)
	}
	if !info.Mode().IsRegular() || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read a sign-in: others may read %s; want mode 0600; fix: ringfence logout, then ringfence login", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKept+1))
	k := &Kept{}
	if err != nil || len(text) > maxKept || json.Unmarshal(text, k) != nil || k.Settings.Issuer == "" {
		return nil, fmt.Errorf("read a sign-in: %s is damaged; fix: ringfence logout, then ringfence login", path)
	}
	return k, nil
}

// Forget removes the sign-in of a provider's client. There may be none.
func (f Folder) Forget(issuer, clientID string) error {
	return gone(f.path(issuer, clientID))
}

// Clear removes every sign-in, those that cannot be read too.
func (f Folder) Clear() error {
	paths, err := filepath.Glob(filepath.Join(string(f), "*.json"))
	for _, path := range paths {
		err = errors.Join(err, gone(path))
	}
	return err
}

func gone(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the sign-in: %w", err)
	}
	return nil
}

// Lock keeps other processes of the user from renewing the same sign-in at once: many providers take a token to renew with once. It tries for
// the time given; the function that it returns gives it back.
func (f Folder) Lock(issuer, clientID string, within time.Duration) (func(), error) {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, fmt.Errorf("lock the sign-in: %w", err)
	}
	path := f.path(issuer, clientID) + ".lock"
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		file, err := durable.Lock(path, 0o600)
		switch {
		case err == nil:
			return func() { _ = file.Close() }, nil
		case !errors.Is(err, durable.ErrLocked):
			return nil, fmt.Errorf("lock the sign-in: %w", err)
		case time.Now().After(end):
			return nil, fmt.Errorf("lock the sign-in: another process of yours has renewed it for %s; try again", within)
		}
	}
}
