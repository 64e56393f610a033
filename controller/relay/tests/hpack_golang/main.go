// Command hpack lets a test speak to Go's HPACK: commands on standard input, an answer to each on standard output, a line each.
// Octets are in hexadecimal, and a field is NAME:VALUE:SENSITIVE.
//
//	encoder           begins a connection to write to
//	limit N           the reader's SETTINGS_HEADER_TABLE_SIZE
//	size N            the size of the table that the writer wants
//	encode FIELD...   answers with a block
//	decoder N         begins a connection to read from, with a table of N octets
//	decode BLOCK      answers "ok FIELD...", or "refused: " and why
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

func main() {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	decoder := hpack.NewDecoder(4096, nil)
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		answer := "ok"
		switch command, rest := words[0], words[1:]; command {
		case "encoder":
			encoder = hpack.NewEncoder(&block)
		case "limit":
			encoder.SetMaxDynamicTableSizeLimit(number(rest[0]))
		case "size":
			encoder.SetMaxDynamicTableSize(number(rest[0]))
		case "encode":
			block.Reset()
			for _, word := range rest {
				if err := encoder.WriteField(field(word)); err != nil {
					log.Fatal(err)
				}
			}
			answer = hex.EncodeToString(block.Bytes())
		case "decoder":
			decoder = hpack.NewDecoder(number(rest[0]), nil)
		case "decode":
			fields, err := decoder.DecodeFull(octets(rest[0]))
			if err != nil {
				answer = "refused: " + err.Error()
				break
			}
			for _, f := range fields {
				answer += fmt.Sprintf(" %x:%x:%t", f.Name, f.Value, f.Sensitive)
			}
		default:
			log.Fatalf("unknown command %q", command)
		}
		fmt.Println(answer)
	}
}

func field(word string) hpack.HeaderField {
	parts := strings.Split(word, ":")
	sensitive, err := strconv.ParseBool(parts[2])
	if err != nil {
		log.Fatal(err)
	}
	return hpack.HeaderField{Name: string(octets(parts[0])), Value: string(octets(parts[1])), Sensitive: sensitive}
}

func octets(word string) []byte {
	octets, err := hex.DecodeString(word)
	if err != nil {
		log.Fatal(err)
	}
	return octets
}

func number(word string) uint32 {
	number, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		log.Fatal(err)
	}
	return uint32(number)
}
