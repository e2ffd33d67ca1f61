package builtin

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// takes reports whether a value is what the server decodes into such a field.
func (n *node) takes(v any) bool {
	s, isText := v.(string)
	switch n.form {
	case anything:
		return true
	case text:
		return isText
	case boolean:
		_, ok := v.(bool)
		return ok
	case enumeration:
		return isText && (s == "" || slices.Contains(n.words, s)) // "" is as if it were not there
	case int32s:
		return whole(v, math.MinInt32, math.MaxInt32)
	case int64s:
		return whole(v, math.MinInt64, math.MaxInt64)
	case double:
		return isNumber(v)
	case intOrString:
		return isText || whole(v, math.MinInt32, math.MaxInt32)
	case quantity:
		return isText && isQuantity(s) || isNumber(v)
	case instant:
		_, err := time.Parse(time.RFC3339, s)
		return isText && err == nil
	case base64Text:
		if !isText {
			return false
		}
		_, err := base64.StdEncoding.DecodeString(s)
		return err == nil
	}
	return false
}

func isNumber(v any) bool {
	switch v.(type) {
	case int64, float64, int, uint64:
		return true
	}
	return false
}

func whole(v any, least, most int64) bool {
	switch v := v.(type) {
	case int64:
		return v >= least && v <= most
	case int:
		return int64(v) >= least && int64(v) <= most
	case float64:
		return v == math.Trunc(v) && v >= float64(least) && v <= float64(most) && math.Abs(v) < 1<<63
	}
	return false
}

// isQuantity asks the server's own parser, but for the usual forms, which are known at sight.
func isQuantity(s string) bool {
	if digits := strings.TrimRight(s, "kMGTPEinum"); len(digits) > 0 && len(digits) <= 18 {
		if _, err := strconv.ParseUint(digits, 10, 64); err == nil {
			switch s[len(digits):] {
			case "", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti":
				return true
			}
		}
	}
	_, err := resource.ParseQuantity(strings.TrimSpace(s))
	return err == nil
}
