package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/record"
)

// keepPushed is how long a run may take to the disk before its pipeline is told to come again.
const keepPushed = 10 * time.Second

// senderForm is what a pipeline may be called in the file of tokens.
var senderForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$`)

// pushToken is one line of the file of tokens: a pipeline's name and what it shows.
type pushToken struct{ sender, token string }

// readPushTokens reads lines of a name and a token; empty ones and those that begin with # are passed over. Its error never
// holds what is in the file but names.
func readPushTokens(file string) (all []pushToken, err error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, fmt.Errorf("read the tokens of pipelines: %w", err)
	}
	wrong := func(line int, want string) error {
		return fmt.Errorf("read the tokens of pipelines: %s:%d: want %s", file, line, want)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
			continue
		case len(fields) != 2:
			return nil, wrong(n, "a name and a token with a space between")
		case !senderForm.MatchString(fields[0]):
			return nil, wrong(n, "a name of at most 63 lower-case letters, digits and . _ / - before the token")
		case len(fields[1]) < minToken:
			return nil, wrong(n, fmt.Sprintf("a token of at least %d characters for %s", minToken, fields[0]))
		case slices.ContainsFunc(all, func(p pushToken) bool { return p.token == fields[1] }):
			return nil, wrong(n, "another token for "+fields[0]+": it is that of a line before")
		}
		all = append(all, pushToken{fields[0], fields[1]})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read the tokens of pipelines: %s holds none; want lines of a name and a token", file)
	}
	return all, nil
}

// checkPush finds tokens that cannot be used, and those that open the doors of audit events too: a pipeline must not be able to
// invent refusals.
func checkPush(cfg Config) error {
	if cfg.PushTokens == "" {
		return nil
	}
	mine, err := readPushTokens(cfg.PushTokens)
	if err != nil || cfg.AuditTokens == "" {
		return err
	}
	theirs, err := readTokens(cfg.AuditTokens)
	if err != nil {
		return err
	}
	for _, p := range mine {
		if slices.Contains(theirs, p.token) {
			return fmt.Errorf("read the tokens of pipelines: that of %s is one for audit events too; want another one: who sends audit events may invent refusals", p.sender)
		}
	}
	return nil
}

// sender is whose token a request shows: one of the signed-in API, or of the file, which is read at every request: a token that is taken
// out is refused at once.
func (s *Server) sender(r *http.Request) (string, bool) {
	shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || shown == "" {
		return "", false
	}
	if s.api != nil && strings.HasPrefix(shown, "rf_") {
		return s.api.portal.Pipeline(r.Context(), shown)
	}
	if s.cfg.PushTokens == "" {
		return "", false
	}
	tokens, err := readPushTokens(s.cfg.PushTokens)
	if err != nil {
		s.log.Error("check runs are refused", "err", err)
		return "", false
	}
	got, name := sha256.Sum256([]byte(shown)), ""
	for _, p := range tokens { // each one, always: how long it takes tells nothing
		want := sha256.Sum256([]byte(p.token))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			name = p.sender
		}
	}
	return name, name != ""
}

// pushAnswer is what a pipeline is told: the id of the record, or what is wrong.
type pushAnswer struct {
	ID    string `json:"id,omitempty"`
	Error string `json:"error,omitempty"`
}

// takePush answers POST /records/check-run: 200 when the run is in the ledger, on the disk below a signed checkpoint, and not
// before; 503 where it cannot be kept now. The same run sent again is the same record.
func (s *Server) takePush(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, a pushAnswer) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(a) // the caller has gone; there is nobody to tell
	}
	sender, ok := s.sender(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ringfence check runs"`)
		answer(http.StatusUnauthorized, pushAnswer{Error: "want a token for check runs"})
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		answer(http.StatusUnsupportedMediaType, pushAnswer{Error: "want Content-Type application/json"})
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, record.MaxPushed))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		answer(http.StatusRequestEntityTooLarge, pushAnswer{Error: fmt.Sprintf("want at most %d bytes", record.MaxPushed)})
		return
	}
	if err != nil {
		answer(http.StatusBadRequest, pushAnswer{Error: "the body broke off"})
		return
	}
	var made record.Record
	run, err := record.ParsePushed(text, time.Now())
	if err == nil {
		made, err = run.Record(sender)
	}
	if err != nil {
		answer(http.StatusBadRequest, pushAnswer{Error: err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), keepPushed)
	defer cancel()
	switch err := s.evidence.keep(ctx, made); {
	case errors.Is(err, record.ErrRejected):
		answer(http.StatusBadRequest, pushAnswer{Error: err.Error()})
	case err != nil:
		s.log.Error("a check run is not kept", "sender", sender, "err", err)
		w.Header().Set("Retry-After", "5")
		answer(http.StatusServiceUnavailable, pushAnswer{Error: "the ledger cannot take it now; send it again"})
	default:
		answer(http.StatusOK, pushAnswer{ID: made.ID})
	}
}

// keep returns nil once a record of a check run is on the disk, also where it was before.
func (e *evidence) keep(ctx context.Context, r record.Record) error {
	all, _ := e.begin(ctx, checkProducer, []record.Record{r})
	for _, f := range all {
		select {
		case <-f.done:
			if f.err != nil {
				return f.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
