import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  decodeHead,
  decodeWindow,
  ERROR_KINDS,
  encodeFrame,
  encodeHead,
  encodeWindow,
  FrameType,
} from '../protocol/index.ts'

const protocol = readFileSync(new URL('../docs/PROTOCOL.md', import.meta.url), 'utf8')

test('docs/PROTOCOL.md lists every error code with its category, status and close code', () => {
  for (const [code, kind] of Object.entries(ERROR_KINDS)) {
    const close = 'close' in kind ? kind.close : '–'
    assert.ok(protocol.includes(`| ${code} | ${kind.category} | ${kind.status} | ${close} |`), code)
  }
})

test('docs/PROTOCOL.md lists every frame type with its number', () => {
  for (const [name, type] of Object.entries(FrameType)) {
    assert.ok(protocol.includes(`| 0x${type.toString(16).padStart(2, '0')} | ${name} |`), name)
  }
})

test('the worked example in docs/PROTOCOL.md is what the code writes', () => {
  const lines = [...protocol.matchAll(/^((?:10|11|92|20) 0{7}1 .*?)(?: {2,}.*)?$/gm)].map(
    (match) => match[1] ?? '',
  )
  const bytes = lines.map((line) => {
    const [binary = '', json = ''] = line.split(/(?=\{)/)
    return Buffer.concat([Buffer.from(binary.replaceAll(' ', ''), 'hex'), Buffer.from(json)])
  })
  const [open, accept, data, window] = bytes
  assert.ok(open && accept && data && window)
  assert.deepEqual(Buffer.from(encodeHead(0x10, 1, decodeHead(open).head)), open)
  assert.deepEqual(Buffer.from(encodeHead(0x11, 1, decodeHead(accept).head)), accept)
  assert.deepEqual(Buffer.from(encodeFrame(0x92, 1, Buffer.from('hello'))), data)
  assert.deepEqual(Buffer.from(encodeWindow(1, decodeWindow(window))), window)
})
