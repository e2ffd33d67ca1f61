package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/witness"
)

// witnessTimeout bounds one call of another witness.
const witnessTimeout = 20 * time.Second

// place is one of Config.Witnesses, read.
type place struct {
	folder, git, remote, bucket, url string
}

// parsePlace reads folder:PATH, git:PATH, git:PATH#REMOTE, s3:BUCKET/PREFIX or an address https://.
func parsePlace(text string) (place, error) {
	wrong := func() error {
		return fmt.Errorf("publish checkpoints at %q: want folder:PATH, git:PATH, git:PATH#REMOTE, s3:BUCKET/PREFIX, or https://HOST/PATH of a witness", finding.Value(text))
	}
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "folder":
		if rest == "" {
			return place{}, wrong()
		}
		return place{folder: rest}, nil
	case "git":
		dir, remote, named := strings.Cut(rest, "#")
		if dir == "" || named && remote == "" || strings.HasPrefix(remote, "-") {
			return place{}, wrong()
		}
		return place{git: dir, remote: remote}, nil
	case "s3":
		if rest == "" {
			return place{}, wrong()
		}
		return place{bucket: rest}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return place{}, wrong()
	}
	return place{url: text}, nil
}

// isLoopback reports whether a host is this machine by its address.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// parsePlaces reads all of Config.Witnesses.
func parsePlaces(texts []string) ([]place, error) {
	var all []place
	var faults []error
	for _, text := range texts {
		p, err := parsePlace(text)
		all, faults = append(all, p), append(faults, err)
	}
	return all, errors.Join(faults...)
}

// newPublisher publishes the checkpoints of a ledger at places, once in every while.
func newPublisher(places []place, every time.Duration, log *ledger.Log, logger *slog.Logger) (*witness.Publisher, error) {
	client := &http.Client{Timeout: witnessTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	cfg := witness.Config{Latest: log.Checkpoint, Every: every, Now: time.Now, Log: logger}
	for _, p := range places {
		switch {
		case p.folder != "":
			cfg.Places = append(cfg.Places, witness.Folder(p.folder))
		case p.git != "":
			cfg.Places = append(cfg.Places, witness.Git(p.git, p.remote))
		case p.bucket != "":
			home, _ := os.UserHomeDir() // without one the files are named by variables
			made, err := bucketSettings{os.Getenv, home}.bucketPlace(p.bucket, log.Source())
			if err != nil {
				return nil, err
			}
			cfg.Places = append(cfg.Places, made)
		default:
			cfg.Places = append(cfg.Places, witness.Peer(client, p.url, log.Source()))
		}
	}
	return witness.New(cfg)
}

// newWitness is a witness for the ledgers whose keyrings lie in files. Its own key, and what it saw, lie in dir.
func newWitness(keyrings []string, dir string) (*witness.Witness, error) {
	cfg := witness.WitnessConfig{Dir: filepath.Join(dir, "witnessed"), Logs: map[string]ledger.Keyring{}, Now: time.Now}
	for _, file := range keyrings {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the keys of a ledger to witness: %w", err)
		}
		ring, err := ledger.ParseKeyring(text)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w; want the file keyring of the other ledger", file, err)
		}
		cfg.Logs[ring.Origin()] = ring
	}
	key, err := loadOrMakeKey(filepath.Join(dir, "witness.key"), "ringfence.dev/witness/")
	if err != nil {
		return nil, err
	}
	cfg.Key = key
	return witness.NewWitness(cfg)
}
