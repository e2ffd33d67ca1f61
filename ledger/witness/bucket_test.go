package witness_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"ringfence.dev/ringfence/ledger"
	"ringfence.dev/ringfence/ledger/witness"
)

// token is a session token that no error may hold.
const token = "session-token-of-somebody"

func bucketPlace(t *testing.T, f *fakeS3, l *ledger.Log) witness.Place {
	t.Helper()
	p, err := witness.Bucket(witness.BucketConfig{Bucket: f.bucket, Prefix: "prod/ledger", Endpoint: f.endpoint(), Region: "eu-central-1", Client: f.Client(),
		Credentials: func() (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: exampleID, SecretAccessKey: exampleSecret, SessionToken: token}, nil
		}, Ledger: l.Source(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const three = "prod/ledger/00000000000000000003.checkpoint"

// TestBucketNeverReplaces: an object of a size is written once, whether the service knows If-None-Match, ignores it or refuses it,
// and whether it was to be seen before; another root of the same size is a conflict and stays.
func TestBucketNeverReplaces(t *testing.T) {
	k := key(t, origin)
	for name, set := range map[string]func(f *fakeS3){
		"knows":   func(*fakeS3) {},
		"raced":   func(f *fakeS3) { f.hidden = three },
		"ignores": func(f *fakeS3) { f.old = true },
		"refuses": func(f *fakeS3) { f.refuses = true },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeS3(t)
			l, fork := log(t, k), log(t, k)
			first := grow(t, l, "a", 3)
			if err := bucketPlace(t, f, l).Publish(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if f.objects[three] != string(first) || f.objects["prod/ledger/latest"] != string(first) {
				t.Fatalf("the bucket holds %v", f.objects)
			}
			delete(f.objects, "prod/ledger/latest") // an insider tidied up
			set(f)
			if err := bucketPlace(t, f, fork).Publish(t.Context(), grow(t, fork, "x", 3)); !errors.Is(err, witness.ErrConflict) {
				t.Errorf("another history of the same size: %v, want ErrConflict", err)
			}
			if err := bucketPlace(t, f, l).Publish(t.Context(), first); err != nil {
				t.Errorf("the same again: %v", err)
			}
			if f.objects[three] != string(first) || f.puts[three] != 1 || f.objects["prod/ledger/latest"] != string(first) {
				t.Errorf("the bucket holds %v after %v writes", f.objects, f.puts)
			}
		})
	}
}

// TestBucketForeign: what is no checkpoint, or of another ledger, stops the publishing.
func TestBucketForeign(t *testing.T) {
	l, other := log(t, key(t, origin)), log(t, key(t, "ringfence.dev/ledger/other"))
	for name, text := range map[string]string{"rubbish": "hello\n", "empty": "", "another ledger": string(grow(t, other, "o", 1))} {
		f := newFakeS3(t)
		f.objects["prod/ledger/latest"] = text
		if err := bucketPlace(t, f, l).Publish(t.Context(), grow(t, l, strings.ReplaceAll(name, " ", "-"), 1)); !errors.Is(err, witness.ErrConflict) || len(f.puts) != 0 {
			t.Errorf("%s: %v after %v, want ErrConflict and no write", name, err, f.puts)
		}
	}
}

// TestBucketBadAnswers: an answer that is none of success is an error that names it and holds no secret, at each of the four
// requests; when the service is well again the checkpoint goes out, once.
func TestBucketBadAnswers(t *testing.T) {
	answer := func(status int, code string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<Error><Code>" + code + "</Code><Message>" + r.Header.Get("Authorization") + r.Header.Get("X-Amz-Security-Token") + "</Message></Error>"))
			return true
		}
	}
	half := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("ringfence.dev/ledger"))
		return true
	}
	var given chan struct{} // closed once the client has given up
	slow := func(http.ResponseWriter, *http.Request) bool { <-given; return true }
	for name, c := range map[string]struct {
		next func(w http.ResponseWriter, r *http.Request) bool
		want string
	}{
		"forbidden":  {answer(403, "AccessDenied"), "403 AccessDenied"},
		"signature":  {answer(403, exampleSecret+" <x>"), "403; want"},
		"redirect":   {answer(307, "TemporaryRedirect"), "307 TemporaryRedirect; want the region"},
		"conflict":   {answer(409, "ConditionalRequestConflict"), "409 ConditionalRequestConflict; it is tried again"},
		"throttled":  {answer(429, "SlowDown"), "429 SlowDown"},
		"error":      {answer(500, "InternalError"), "500 InternalError"},
		"busy":       {answer(503, "SlowDown"), "503 SlowDown"},
		"no bucket":  {answer(404, "NoSuchBucket"), "404 NoSuchBucket"},
		"half":       {half, "unexpected EOF"},
		"slow":       {slow, "context deadline exceeded"},
		"not signed": {answer(400, "InvalidRequest"), "400 InvalidRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			l := log(t, key(t, origin))
			checkpoint := grow(t, l, "a", 3)
			for at := range 4 { // GET latest, GET 3.checkpoint, PUT 3.checkpoint, PUT latest
				f, count := newFakeS3(t), 0
				given = make(chan struct{})
				f.next = func(w http.ResponseWriter, r *http.Request) bool {
					count++
					if name == "no bucket" && r.Method == http.MethodPut {
						return answer(404, "NoSuchBucket")(w, r)
					}
					return count == at+1 && c.next(w, r)
				}
				patience := time.Minute
				if name == "slow" {
					patience = time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				err := bucketPlace(t, f, l).Publish(ctx, checkpoint)
				cancel()
				close(given)
				if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, witness.ErrConflict) {
					t.Errorf("request %d: %v, want %q", at, err, c.want)
				} else if text := err.Error(); strings.Contains(text, exampleSecret) || strings.Contains(text, token) || strings.Contains(text, "Signature=") {
					t.Errorf("request %d: the error tells a secret: %v", at, err)
				}
				f.mu.Lock() // a slow answer may still be under way
				f.next = nil
				f.mu.Unlock()
				if err := bucketPlace(t, f, l).Publish(t.Context(), checkpoint); err != nil || f.puts[three] != 1 || f.objects["prod/ledger/latest"] != string(checkpoint) {
					t.Errorf("request %d, after it: %v, writes %v", at, err, f.puts)
				}
			}
		})
	}
}

// TestBucketNames: what cannot be a bucket or a prefix is refused before anything is sent.
func TestBucketNames(t *testing.T) {
	l := log(t, key(t, origin))
	for _, name := range [][2]string{{"", ""}, {"A", ""}, {"ab", ""}, {"under_score", ""}, {"bank", "/x"}, {"bank", "x/"}, {"bank", "a//b"}, {"bank", "a/../b"}, {"bank", "."}, {"bank", "a?b"}, {"bank", "ä"}} {
		if _, err := witness.Bucket(witness.BucketConfig{Bucket: name[0], Prefix: name[1], Region: "r", Client: http.DefaultClient, Ledger: l.Source(), Now: time.Now,
			Credentials: func() (aws.Credentials, error) { return aws.Credentials{}, nil }}); err == nil {
			t.Errorf("Bucket(%q) was taken", name)
		}
	}
}
