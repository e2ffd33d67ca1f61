package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	// qualysPage is how many images a page has: it may have 250, but each comes with all of its layers and packages.
	qualysPage = "50"
	// maxStale is how many pages may follow each other that name no image anew.
	maxStale = 3
	// maxToken is 16 KiB; tokens have some 2.
	maxToken = 16 << 10
)

var sha = regexp.MustCompile(`^[0-9a-f]{64}$`)

// qualys is the Container Security interface, version 1.3, behind the gateway of the bank's platform.
type qualys struct {
	*asker
	token string
}

func openQualys(c Config) (Reports, error) {
	a, err := newAsker(c)
	if err != nil {
		return nil, err
	}
	if c.User == "" || c.Password == nil {
		return nil, errors.New("want a user and a password: the gateway of Qualys gives a token for them")
	}
	q := &qualys{asker: a}
	a.login = q.authorization
	return q.reports, nil
}

// authorization gives the token, and gets one where there is none or the last was refused: one is good for four hours.
func (q *qualys) authorization(ctx context.Context, fresh bool) (string, error) {
	if q.token == "" || fresh {
		password, err := q.Password()
		if err != nil {
			return "", err
		}
		form := url.Values{"username": {q.User}, "password": {password}, "token": {"true"}}.Encode()
		got, err := q.ask(ctx, nil, func() (*http.Request, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, q.URL.JoinPath("auth").String(), strings.NewReader(form))
			if err == nil {
				request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			return request, err
		})
		if err != nil {
			return "", fmt.Errorf("get a token: %w", err)
		}
		token := string(bytes.TrimSpace(got.body))
		if got.status != http.StatusCreated && got.status != http.StatusOK || token == "" || len(token) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", fmt.Errorf("get a token: %s gives none, status %d; fix: check that --url is the gateway of your platform", q.URL.Host, got.status)
		}
		q.token = token
	}
	return "Bearer " + q.token, nil
}

// reports asks for the list page by page, and for the details of each image: the list itself leaves out what a verdict needs.
func (q *qualys) reports(ctx context.Context) iter.Seq2[Report, error] {
	return func(yield func(Report, error) bool) {
		if err := q.pages(ctx, yield); err != nil {
			yield(Report{}, fmt.Errorf("list the images: %w", err))
		}
	}
}

// pages reads all of the list; the error is of the list, and nil where nobody wants more.
func (q *qualys) pages(ctx context.Context, yield func(Report, error) bool) error {
	query := url.Values{"limit": {qualysPage}}
	if q.Filter != "" {
		query.Set("filter", q.Filter)
	}
	known, pages, stale, broken := map[string]bool{}, map[string]bool{}, 0, 0
	for query != nil {
		if pages[query.Encode()] {
			return fmt.Errorf("%s gives a page again; the rest was not fetched", q.URL.Host)
		}
		pages[query.Encode()] = true
		shas, next, err := q.page(ctx, query)
		if err != nil {
			return err
		}
		shas = slices.DeleteFunc(shas, func(sha string) bool {
			defer func() { known[sha] = true }()
			return known[sha]
		})
		if len(known) > q.Limits.Reports {
			return fmt.Errorf("more than %d; narrow them with --filter", q.Limits.Reports)
		}
		if stale++; len(shas) > 0 {
			stale = 0
		}
		if stale > maxStale {
			return fmt.Errorf("%s goes on with pages that name nothing new; the rest was not fetched", q.URL.Host)
		}
		if !q.each(ctx, yield, shas, &broken, q.one) {
			return nil
		}
		query = next
	}
	return nil
}

// page is the images of one page, and how to ask for the next, nil where there is none.
func (q *qualys) page(ctx context.Context, query url.Values) (shas []string, next url.Values, err error) {
	got, err := q.get(ctx, "csapi/v1.3/images/list", query)
	if err != nil {
		return nil, nil, err
	}
	if got.status == http.StatusNoContent {
		return nil, nil, nil
	}
	if got.status != http.StatusOK {
		return nil, nil, q.unexpected("the list", got)
	}
	var list struct {
		Data *[]struct {
			SHA string `json:"sha"`
		} `json:"data"`
	}
	if err := json.Unmarshal(got.body, &list); err != nil || list.Data == nil {
		return nil, nil, fmt.Errorf("%s gives no list of images; want JSON with data", q.URL.Host)
	}
	for _, one := range *list.Data {
		if !sha.MatchString(one.SHA) {
			return nil, nil, fmt.Errorf("%s names an image by what is no digest; want 64 hexadecimal digits", q.URL.Host)
		}
		shas = append(shas, one.SHA)
	}
	next, err = following(got.header.Get("Link"))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", q.URL.Host, err)
	}
	return shas, next, nil
}

// following is the query for the next page. Of the link only that is taken: it names another host than the gateway, and no https.
func following(link string) (url.Values, error) {
	link = strings.TrimSpace(link)
	if link == "" || link == "null" || link == "<null>" {
		return nil, nil
	}
	target, _, _ := strings.Cut(strings.TrimPrefix(link, "<"), ";")
	u, err := url.Parse(strings.TrimRight(target, "<> ")) // Qualys' own sample closes it with a "<"
	if err != nil || u.Query().Get("paginationQuery") == "" {
		return nil, errors.New("the link to the next page has no paginationQuery; the rest was not fetched")
	}
	return u.Query(), nil
}

// one is the report on one image.
func (q *qualys) one(ctx context.Context, sha string) (Report, error) {
	r := Report{About: "sha256:" + sha, Digest: "sha256:" + sha}
	got, err := q.get(ctx, "csapi/v1.3/images/"+sha, nil)
	switch {
	case err != nil:
		return r, fmt.Errorf("%s: %w", r.About, err)
	case got.status == http.StatusNotFound:
		return r, missing("Qualys listed it and has it no more")
	case got.status != http.StatusOK:
		return r, q.unexpected(r.About, got)
	}
	r.Text = got.body
	return r, nil
}
