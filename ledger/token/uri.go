package token

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// ErrURI is wrapped where an address of a key is none that can be used.
var ErrURI = errors.New("this is no address of a key in a token")

// address says where a key is, as a PKCS#11 URI (RFC 7512) does.
type address struct {
	token, object string
	id            []byte
	module        string // file of the token's PKCS#11 module
	pin           string // file of the user's PIN
}

// parseURI reads pkcs11:token=T;id=%01?module-path=FILE&pin-source=file:FILE. object=LABEL may be
// said too, and must be the key's. Attributes that are not used here are refused, since to pass over one is to take another key than was meant. No error holds a value: it may be a PIN.
func parseURI(text string) (address, error) {
	var a address
	wrong := func(format string, args ...any) (address, error) {
		return address{}, fmt.Errorf("%w: %s; want pkcs11:token=LABEL;id=%%01?module-path=/FILE&pin-source=file:/FILE", ErrURI, fmt.Sprintf(format, args...))
	}
	rest, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok || len(text) > 4096 {
		return wrong("it does not begin with pkcs11:")
	}
	path, query, _ := strings.Cut(rest, "?")
	seen := map[string]bool{}
	for _, part := range append(strings.Split(path, ";"), strings.Split(query, "&")...) {
		name, raw, _ := strings.Cut(part, "=")
		if part == "" {
			continue
		}
		value, err := url.PathUnescape(raw)
		if err != nil || value == "" || strings.ContainsRune(value, 0) && name != "id" {
			return wrong("%s has no value that can be read", finding.Value(name))
		}
		if seen[name] {
			return wrong("%s stands there twice", finding.Value(name))
		}
		seen[name] = true
		switch name {
		case "token":
			a.token = value
		case "object":
			a.object = value
		case "id":
			a.id = []byte(value)
		case "type":
			if value != "private" {
				return wrong("type is another than private")
			}
		case "module-path":
			a.module = value
		case "pin-source":
			a.pin = strings.TrimPrefix(strings.TrimPrefix(value, "file://"), "file:")
		case "pin-value":
			return wrong("pin-value tells the PIN to everybody who lists processes; write it to a file and name that as pin-source")
		default:
			return wrong("%s is not known here", finding.Value(name))
		}
	}
	if len(a.id) == 0 {
		return wrong("id is missing, and by it alone %s chooses the key to sign with, whatever object says", program)
	}
	if a.token == "" || !filepath.IsAbs(a.module) || !filepath.IsAbs(a.pin) {
		return wrong("token, module-path or pin-source is missing, or a file is not named from the root")
	}
	return a, nil
}

// arguments name the token and the key for pkcs11-tool. A value never stands for itself: it cannot be taken for an option.
func (a address) arguments() []string {
	args := []string{"--module=" + a.module, "--token-label=" + a.token, "--login", "--id=" + hex.EncodeToString(a.id)}
	if a.object != "" {
		args = append(args, "--label="+a.object)
	}
	return args
}
