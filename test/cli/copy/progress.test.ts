import assert from 'node:assert/strict'
import test from 'node:test'
import { clockText, progressLine } from '../../../cli/copy/progress.ts'
import { byteText } from '../../../cli/output.ts'

const STANDING = { doneBytes: 450e6, totalBytes: 1e9, bytesPerSecond: 12.34e6 }

test('the line of progress fits every width, and keeps what matters most', () => {
  const names = ['a', 'backup-2026-11-26.tar.zst', '日本語のとても長い名前.txt', 'x\n\u001b[2J']
  for (let columns = 1; columns <= 120; columns++) {
    for (const name of names) {
      for (const more of [{}, { note: 'link lost, resuming…' }, { bytesPerSecond: undefined }]) {
        const line = progressLine({ name, ...STANDING, ...more }, columns)
        const width = [...line].reduce((sum, each) => sum + (each.codePointAt(0)! < 0x2e80 ? 1 : 2), 0)
        assert.ok(width <= columns, `${columns}: ${JSON.stringify(line)}`)
        assert.ok(!line.includes('\n') && !line.includes('\u001b'))
      }
    }
  }
  const at = (columns: number) => progressLine({ name: 'big.iso', ...STANDING }, columns)
  assert.equal(at(79), 'big.iso  45%  450 MB of 1.0 GB  12.3 MB/s  0:45')
  assert.equal(at(30), 'big.iso  45%  12.3 MB/s  0:45')
  assert.equal(at(20), '45%  12.3 MB/s  0:45')
  assert.equal(at(4), '45%')
  const before = { name: '', doneBytes: 0, totalBytes: 0, bytesPerSecond: undefined, note: 'preparing…' }
  assert.equal(progressLine(before, 79), 'preparing…')
})

test('amounts and times are short', () => {
  assert.deepEqual([0, 999, 1_000, 12_345, 999_499, 999_500, 5e9, 123e12].map(byteText), [
    '0 B',
    '999 B',
    '1.0 kB',
    '12.3 kB',
    '999 kB',
    '1.0 MB',
    '5.0 GB',
    '123 TB',
  ])
  assert.deepEqual([0, 0.2, 59.5, 61, 3_600, 36_061].map(clockText), [
    '0:00',
    '0:01',
    '1:00',
    '1:01',
    '1:00:00',
    '10:01:01',
  ])
})
