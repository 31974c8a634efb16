import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { decodeRecord, encodeRecord } from '../../../client/queue/record.ts'
import { storedRequest } from './requests.ts'

/** Written by the version before this one was made faster. */
const EARLIER =
  'VFEAAYatjc0AAAD3eyJpZCI6IjdmIiwibWFjaGluZSI6ImhvbWUiLCJ0YXJnZXQiOiIxMjcuMC4wLjE6ODAiLCJtZXRob2Qi' +
  'OiJQT1NUIiwicGF0aCI6Ii/DvCIsImhlYWRlcnMiOltbImEiLCLDvyJdXSwid2l0aGhlbGQiOlsiY29va2llIl0sInByaW9y' +
  'aXR5IjoiaGlnaCIsImlkZW1wb3RlbnQiOnRydWUsInRpbWVvdXRNcyI6MTAwMCwibWF4Qm9keUJ5dGVzIjoyMDAwLCJhY2Nl' +
  'cHRlZEF0TXMiOjUsImV4cGlyZXNBdE1zIjo3LCJoYXNCb2R5Ijp0cnVlfQECAw=='

test('a record carries the CRC-32 that everybody computes, whatever its length', () => {
  for (let length = 0; length < 40; length++) {
    const record = encodeRecord(
      storedRequest({ id: 'é'.repeat(length % 7), body: new Uint8Array(length).fill(length) }),
    )
    const view = new DataView(record.buffer)
    assert.equal(view.getUint32(4), crc32(record.subarray(8)), `with ${length} bytes of body`)
  }
})

test('a record of an earlier version is read as it was meant', () => {
  assert.deepEqual(decodeRecord(Uint8Array.from(Buffer.from(EARLIER, 'base64'))), {
    id: '7f',
    machine: 'home',
    target: '127.0.0.1:80',
    method: 'POST',
    path: '/ü',
    headers: [['a', 'ÿ']],
    withheld: ['cookie'],
    body: Uint8Array.of(1, 2, 3),
    priority: 'high',
    idempotent: true,
    timeoutMs: 1_000,
    maxBodyBytes: 2_000,
    acceptedAtMs: 5,
    expiresAtMs: 7,
  })
})

test('records are read as they were written, the larger ones too, and share no memory', () => {
  const requests = [0, 1, 16_000, 16_384, 100_000].map((length) =>
    storedRequest({ path: `/${'%C3%BC'.repeat(length / 100)}`, body: new Uint8Array(length).fill(7) }),
  )
  const records = requests.map(encodeRecord)
  assert.deepEqual(records.map(decodeRecord), requests)
  for (const record of records) assert.equal(record.buffer.byteLength, record.length)
})
