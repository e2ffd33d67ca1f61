package witness_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The keys of the examples in AWS's documentation.
const (
	exampleID     = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// checkSigV4 checks the signature of a request as "Signature Calculations for the Authorization Header" of the Amazon S3 API
// Reference says. It shares nothing with the signer.
func checkSigV4(r *http.Request, body []byte, secret string, now time.Time) error {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/") // id, day, region, service, aws4_request
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if !ok || len(scope) != 5 || err != nil || !strings.HasPrefix(r.Header.Get("X-Amz-Date"), scope[1]) || now.Sub(at).Abs() > 15*time.Minute {
		return errors.New("no authorization, or not of this time")
	}
	sum := sha256.Sum256(body)
	if r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]) {
		return errors.New("the digest of the body is wrong")
	}
	names := strings.Split(fields["SignedHeaders"], ";")
	for name := range r.Header {
		if low := strings.ToLower(name); strings.HasPrefix(low, "x-amz-") && !slices.Contains(names, low) {
			return fmt.Errorf("%s is not signed", name)
		}
	}
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n" + strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20") + "\n"
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + fields["SignedHeaders"] + "\n" + hex.EncodeToString(sum[:])
	digest := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + strings.Join(scope[1:], "/") + "\n" + hex.EncodeToString(digest[:])
	key := []byte("AWS4" + secret)
	for _, part := range append(scope[1:], text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if hex.EncodeToString(key) != fields["Signature"] || scope[0] != exampleID {
		return errors.New("the signature is wrong")
	}
	return nil
}

// TestCheckSigV4 holds the checker to the examples that AWS published, and to one of them with another body.
func TestCheckSigV4(t *testing.T) {
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		method, path, body, signed, signature string
		header                                map[string]string
	}{
		{"GET", "/test.txt", "", "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			map[string]string{"Range": "bytes=0-9"}},
		{"PUT", "/test%24file.text", "Welcome to Amazon S3.", "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"}},
	} {
		r := httptest.NewRequest(c.method, "http://examplebucket.s3.amazonaws.com"+c.path, nil)
		sum := sha256.Sum256([]byte(c.body))
		r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		r.Header.Set("X-Amz-Date", "20130524T000000Z")
		for name, value := range c.header {
			r.Header.Set(name, value)
		}
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleID+"/20130524/us-east-1/s3/aws4_request,SignedHeaders="+c.signed+",Signature="+c.signature)
		if err := checkSigV4(r, []byte(c.body), exampleSecret, at); err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
		}
		if checkSigV4(r, []byte(c.body+"x"), exampleSecret, at) == nil || checkSigV4(r, []byte(c.body), "another", at) == nil || checkSigV4(r, []byte(c.body), exampleSecret, at.Add(time.Hour)) == nil {
			t.Errorf("%s %s: another body, secret or time is taken", c.method, c.path)
		}
	}
}

// fakeS3 is a bucket as the Amazon S3 API Reference describes GetObject and PutObject, in the path of the address.
type fakeS3 struct {
	*httptest.Server
	bucket string

	mu      sync.Mutex // guards what follows
	objects map[string]string
	puts    map[string]int
	old     bool   // a service that does not know If-None-Match
	refuses bool   // one that answers it with 501
	hidden  string // an object that a GET does not show, once
	// next answers in place of the bucket where it is not nil; it returns false to let a request through.
	next func(w http.ResponseWriter, r *http.Request) bool
}

func newFakeS3(t *testing.T) *fakeS3 {
	f := &fakeS3{bucket: "bank-evidence", objects: map[string]string{}, puts: map[string]int{}}
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeS3) endpoint() *url.URL {
	u, _ := url.Parse(f.URL)
	return u
}

// ServeHTTP implements http.Handler.
func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>of %s</Message></Error>", code, r.Header.Get("Authorization"))
	}
	if f.next != nil && f.next(w, r) {
		return
	}
	key, ok := strings.CutPrefix(r.URL.Path, "/"+f.bucket+"/")
	there, exists := f.objects[key]
	sum := sha256.Sum256(body)
	switch err := checkSigV4(r, body, exampleSecret, time.Now()); {
	case err != nil:
		fault(http.StatusForbidden, "SignatureDoesNotMatch")
	case !ok:
		fault(http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodGet && (!exists || f.hidden == key):
		f.hidden = ""
		fault(http.StatusNotFound, "NoSuchKey")
	case r.Method == http.MethodGet:
		_, _ = io.WriteString(w, there)
	case r.Header.Get("X-Amz-Checksum-Sha256") != base64.StdEncoding.EncodeToString(sum[:]):
		fault(http.StatusBadRequest, "BadDigest")
	case f.refuses && r.Header.Get("If-None-Match") != "":
		fault(http.StatusNotImplemented, "NotImplemented")
	case exists && r.Header.Get("If-None-Match") == "*" && !f.old:
		fault(http.StatusPreconditionFailed, "PreconditionFailed")
	default:
		f.objects[key] = string(bytes.Clone(body))
		f.puts[key]++
	}
}
