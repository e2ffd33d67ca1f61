package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/mod/sumdb/tlog"

	"ringfence.dev/ringfence/ledger"
)

// latestObject is the object that holds the newest checkpoint, for those who fetch it. It is the only one that is replaced.
const latestObject = "latest"

var (
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixForm = regexp.MustCompile(`^([A-Za-z0-9._-]+/)*[A-Za-z0-9._-]+$`)
	codeForm   = regexp.MustCompile(`^[A-Za-z0-9.]{1,64}$`)
)

// BucketConfig is what Bucket needs.
type BucketConfig struct {
	// Bucket is its name; Prefix stands before the names of objects, "" for none. Each ledger needs a prefix of its own.
	Bucket, Prefix string
	// Endpoint is the address of a service that speaks S3, with the bucket in the path; nil is AWS in Region.
	Endpoint *url.URL
	Region   string
	// Credentials are asked for at every checkpoint, so that renewed ones are used at once. No error holds them.
	Credentials func() (aws.Credentials, error)
	// Client reaches the service. It must follow no redirect: a signature is for one host.
	Client *http.Client
	// Ledger is read for proofs.
	Ledger ledger.Source
	// Now is the clock. A service refuses a request whose time is wrong by 15 minutes.
	Now func() time.Time
}

// Bucket is a place in a bucket that speaks S3. Each checkpoint is a new object PREFIX/SIZE.checkpoint, written with
// If-None-Match: *, so that none is ever replaced; PREFIX/latest is a copy of the newest. A checkpoint that is there must be
// of this history: of the same size with the same root, or smaller with a proof. It needs the rights s3:GetObject and
// s3:PutObject on the prefix, and s3:ListBucket, without which S3 answers 403 in place of 404.
func Bucket(cfg BucketConfig) (Place, error) {
	name := "s3:" + cfg.Bucket
	if cfg.Prefix != "" {
		name += "/" + cfg.Prefix
	}
	if !bucketForm.MatchString(cfg.Bucket) || cfg.Prefix != "" && !prefixForm.MatchString(cfg.Prefix) || strings.Contains("/"+cfg.Prefix+"/", "/../") || strings.Contains("/"+cfg.Prefix+"/", "/./") {
		return Place{}, fmt.Errorf("publish checkpoints at %.200q: want s3:BUCKET or s3:BUCKET/PREFIX: 3 to 63 lower-case letters, digits, dots and dashes, then letters, digits and ._-/", name)
	}
	if cfg.Region == "" || cfg.Credentials == nil || cfg.Client == nil || cfg.Ledger == nil || cfg.Now == nil {
		return Place{}, fmt.Errorf("publish checkpoints at %s: want a region, credentials, a client, a ledger and a clock", name)
	}
	b := &bucket{BucketConfig: cfg, base: base(cfg), signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })}
	return Place{Name: name, Publish: func(ctx context.Context, checkpoint []byte) error {
		if err := b.publish(ctx, checkpoint); err != nil {
			return fmt.Errorf("publish a checkpoint at %s: %w", name, err)
		}
		return nil
	}}, nil
}

// base is the address below which objects lie. A name with dots matches no certificate for *.s3.REGION, and goes into the path.
func base(cfg BucketConfig) *url.URL {
	u := &url.URL{Scheme: "https", Host: "s3." + cfg.Region + ".amazonaws.com"}
	if strings.HasPrefix(cfg.Region, "cn-") {
		u.Host += ".cn"
	}
	switch {
	case cfg.Endpoint != nil:
		u = cfg.Endpoint.JoinPath(cfg.Bucket)
	case strings.Contains(cfg.Bucket, "."):
		u = u.JoinPath(cfg.Bucket)
	default:
		u.Host = cfg.Bucket + "." + u.Host
	}
	if cfg.Prefix != "" {
		u = u.JoinPath(cfg.Prefix)
	}
	return u
}

type bucket struct {
	BucketConfig
	base   *url.URL
	signer *v4.Signer
}

func (b *bucket) publish(ctx context.Context, checkpoint []byte) error {
	origin, tree, err := ledger.ParseCheckpoint(string(checkpoint))
	if err != nil {
		return err
	}
	newest, found, err := b.read(ctx, latestObject, origin)
	if err != nil {
		return err
	}
	if found {
		if err := b.continues(ctx, newest, tree); err != nil {
			return err
		}
	}
	if err := b.keep(ctx, origin, tree, checkpoint); err != nil {
		return err
	}
	if found && newest.N == tree.N {
		return nil
	}
	answer, err := b.do(ctx, http.MethodPut, latestObject, checkpoint, false)
	if err == nil && answer.status != http.StatusOK {
		err = answer.fault(latestObject)
	}
	return err
}

// continues finds out whether a tree goes on from one that was published.
func (b *bucket) continues(ctx context.Context, there, here tlog.Tree) error {
	switch {
	case there.N > here.N || there.N == here.N && there.Hash != here.Hash:
		return conflict(there.N, here.N)
	case there.N == 0 || there.N == here.N:
		return nil
	}
	proof, err := ledger.Consistency(ctx, b.Ledger, there.N, here)
	if err != nil {
		return err
	}
	if ledger.CheckGrowth(proof, there, here) != nil {
		return conflict(there.N, here.N)
	}
	return nil
}

// keep writes the checkpoint under its size, where there is none. It is looked for first: a service that does not know
// If-None-Match would replace it.
func (b *bucket) keep(ctx context.Context, origin string, tree tlog.Tree, checkpoint []byte) error {
	name := fmt.Sprintf("%020d.checkpoint", tree.N)
	for _, conditional := range []bool{true, false} {
		there, found, err := b.read(ctx, name, origin)
		if err != nil {
			return err
		}
		if found {
			return b.continues(ctx, there, tree)
		}
		answer, err := b.do(ctx, http.MethodPut, name, checkpoint, conditional)
		switch {
		case err != nil:
			return err
		case answer.status == http.StatusOK:
			return nil
		case answer.status == http.StatusPreconditionFailed: // somebody was faster
			if there, found, err = b.read(ctx, name, origin); err == nil && found {
				return b.continues(ctx, there, tree)
			}
			return errors.Join(err, answer.fault(name))
		case answer.status != http.StatusNotImplemented || !conditional:
			return answer.fault(name)
		}
	}
	return nil // the loop has ended in one of its cases
}

// read is the checkpoint that an object holds. What is none, or of another ledger, is an error.
func (b *bucket) read(ctx context.Context, name, origin string) (tree tlog.Tree, found bool, err error) {
	answer, err := b.do(ctx, http.MethodGet, name, nil, false)
	switch {
	case err != nil:
		return tlog.Tree{}, false, err
	case answer.status == http.StatusNotFound && answer.code != "NoSuchBucket":
		return tlog.Tree{}, false, nil
	case answer.status != http.StatusOK:
		return tlog.Tree{}, false, answer.fault(name)
	}
	there, tree, err := ledger.ParseCheckpoint(string(answer.body))
	if err != nil {
		return tlog.Tree{}, false, fmt.Errorf("%w: the object %s holds no checkpoint; nobody but Ringfence may write there", ErrConflict, name)
	}
	if there != origin {
		return tlog.Tree{}, false, fmt.Errorf("%w: the object %s is of the ledger %.100q, want %s; give each ledger a prefix of its own", ErrConflict, name, there, origin)
	}
	return tree, true, nil
}

// answer is what the service said.
type answer struct {
	status int
	body   []byte
	code   string // of an error, for instance AccessDenied; "" where there is none
}

// fault is an answer as an error. Of its text only the code is told: the rest may repeat what was sent.
func (a answer) fault(name string) error {
	text := fmt.Sprintf("%s: the service answers %d", name, a.status)
	if a.code != "" {
		text += " " + a.code
	}
	switch {
	case a.status == http.StatusForbidden:
		text += "; want credentials with s3:GetObject, s3:PutObject and s3:ListBucket, and a clock that is right"
	case a.status >= 300 && a.status < 400:
		text += "; want the region in which the bucket is"
	case a.status == http.StatusTooManyRequests || a.status >= 500 || a.status == http.StatusConflict:
		text += "; it is tried again"
	}
	return errors.New(text)
}

// do makes one signed request. once asks the service to write only where nothing is.
func (b *bucket) do(ctx context.Context, method, name string, body []byte, once bool) (answer, error) {
	credentials, err := b.Credentials()
	if err != nil {
		return answer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, method, b.base.JoinPath(name).String(), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	sum := sha256.Sum256(body)
	request.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	if method == http.MethodPut {
		request.Header.Set("Content-Type", "text/plain; charset=utf-8")
		request.Header.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:])) // a bucket with Object Lock demands one
		request.Header.Set("X-Amz-Sdk-Checksum-Algorithm", "SHA256")
	}
	if once {
		request.Header.Set("If-None-Match", "*")
	}
	if err := b.signer.SignHTTP(ctx, credentials, request, hex.EncodeToString(sum[:]), "s3", b.Region, b.Now().UTC()); err != nil {
		return answer{}, errors.New("sign the request: the credentials cannot be used")
	}
	response, err := b.Client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%s: read the answer %d: %w", name, response.StatusCode, err)
	}
	a := answer{status: response.StatusCode, body: text}
	var fault struct{ Code string }
	if a.status != http.StatusOK && xml.Unmarshal(text, &fault) == nil && codeForm.MatchString(fault.Code) {
		a.code = fault.Code
	}
	return a, nil
}
