// Writes what Kubernetes and Go make of quantities and durations, for the tests of plugward-api to compare with:
//
//	go run . quantities > quantities.tsv
//	go run . durations > durations.tsv
package main

import (
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

var quantities = []string{
	"0", "1", "-1", "+1", "10", "100", "1000", "1500", "1024", "2048", "0.5", ".5", "5.", "-.5", "00012", "1.000",
	"1n", "1u", "1m", "1k", "1M", "1G", "1T", "1P", "1E", "9E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei", "7Ei", "8Ei",
	"100m", "1500m", "2000m", "0.1m", "0.1n", "0.0000000001", "-0.1n", "1.1u", "0.5Ki", "0.1Ki", "1.5Gi", "1.1Mi",
	"0.0001Ki", "1023Ki", "1024Ki", "1025Ki", "1000Ki", "-3Ki", "1e3", "1E3", "1e0", "1e-3", "1e+3", "12e6", "1.5e3",
	"1e-9", "1e-10", "5e-1", "100e-2", "1e18", "9e18", "123456789", "123456789.123456789", "0.123456789123",
	"9223372036854775807", "9.223372036854775807E", "4611686018427387904", "0Ki", "0m", "-0", "0e5", "0.000",
	"1234567Ki", "999999999n", "1000000000n", "1.0Gi", "1.25Ki", "512Mi", "10.5M", "3.000e2", "1048576",
	// Not quantities.
	"", " 1", "1 ", "abc", "1i", "1kib", "1K", "1KI", "1mi", "1e", "1e+", "1e1.5", "1.1.1", "1,5", "--1", "1-", "0x10",
	"1Gb", "500mi", "1ee3", "1e3Ki", "5 Mi", "1_000", "١", "NaN", "Inf",
}

var durations = []string{
	"0", "0s", "-0", "+0", "5s", "30s", "1478s", "-5s", "+5s", "5.0s", "5.6s", "5.s", ".5s", "1.0s", "1.00s", "1.004s",
	"100.00100s", "10ns", "11us", "12µs", "12μs", "13ms", "14s", "15m", "16h", "3h30m", "10.5s4m", "-2m3.4s",
	"1h2m3s4ms5us6ns", "39h9m14.425s", "52763797000ns", "0.3333333333333333333h", "9007199254740993ns",
	"9223372036854775807ns", "9223372036854775.807us", "9223372036s854ms775us807ns", "-9223372036854775808ns",
	"-9223372036854775.808us", "0.100000000000000000000h", "0.830103483285477580700h", "1.5h", "90m", "60s", "3600s",
	"1ns", "999ns", "1000ns", "1001ns", "1.5us", "999999ns", "1ms", "1.5ms", "2h", "2h0m0.1s", "100h", "1h1ns", "00001s",
	// Not durations, or too long.
	"", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1 s", " 1s", "1s ", "1S", "1hs", "1h-2m", "--1s", "9223372036854775808ns",
	"9223372036854775.808us", "9223372036854ms775us808ns", "-9223372036854775809ns", "3000000h", "1e3s", "1.2.3s", "forever",
}

func main() {
	random := rand.New(rand.NewSource(1))
	switch os.Args[1] {
	case "quantities":
		fmt.Println("# input, canonical form, whole units, nanos (-: not comparable); made by main.go")
		suffixes := strings.Fields("n u m k M G T P E Ki Mi Gi Ti Pi Ei e3 e-3 E6 e-7")
		for range 400 {
			number := fmt.Sprint(random.Int63n([]int64{10, 1000, 1e6, 1e12}[random.Intn(4)]))
			if random.Intn(2) == 0 {
				number += "." + fmt.Sprint(random.Int63n([]int64{10, 1000, 1e12}[random.Intn(3)]))
			}
			quantities = append(quantities, number+append(suffixes, "")[random.Intn(len(suffixes)+1)])
		}
		for _, text := range quantities {
			quantity, err := resource.ParseQuantity(text)
			if err != nil {
				fmt.Printf("%q\terror\n", text)
				continue
			}
			number, suffix := quantity.CanonicalizeBytes(nil)
			dec := quantity.AsDec()
			if dec.UnscaledBig().BitLen() > 64 || quantity.CmpInt64(1<<62) > 0 {
				// Kubernetes leaves decimals beyond 2^63 as they are, against its own description, and its int64s wrap.
				if quantity.Format != resource.BinarySI {
					continue
				}
			}
			nanos := "-"
			if quantity.CmpInt64(9e9) < 0 && quantity.CmpInt64(-9e9) > 0 {
				nanos = fmt.Sprint(quantity.ScaledValue(resource.Nano))
			}
			value := fmt.Sprint(quantity.Value())
			if quantity.Sign() < 0 && !strings.HasPrefix(value, "-") {
				// Kubernetes rounds a negative fraction to a positive number.
				value = "-"
			}
			fmt.Printf("%q\t%s%s\t%s\t%s\n", text, number, suffix, value, nanos)
		}
	case "durations":
		fmt.Println("# input, canonical form, nanoseconds; made by main.go")
		units := strings.Fields("ns us µs ms s m h")
		for range 400 {
			text := ""
			for range 1 + random.Intn(3) {
				text += fmt.Sprint(random.Int63n([]int64{10, 1000, 1e6}[random.Intn(3)]))
				if random.Intn(2) == 0 {
					text += "." + fmt.Sprint(random.Int63n([]int64{10, 1000, 1e12, 1 << 62}[random.Intn(4)]))
				}
				text += units[random.Intn(len(units))]
			}
			durations = append(durations, text)
		}
		for _, text := range durations {
			duration, err := time.ParseDuration(text)
			if err != nil {
				fmt.Printf("%q\terror\n", text)
				continue
			}
			fmt.Printf("%q\t%s\t%d\n", text, duration, duration.Nanoseconds())
		}
	}
}
