import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { StreamDuplex } from '../../../protocol/node/duplex.ts'
import { MIB, Parties } from '../parties.ts'

async function duplexOf(parties: Parties): Promise<StreamDuplex> {
  const duplex = new StreamDuplex(parties.opener.open({ kind: 'ssh', machine: 'home' }))
  duplex.on('error', () => {}).resume()
  await parties.pass(10)
  return duplex
}

test('a writer may use its buffer again when the callback has come, even before the stream is accepted', async () => {
  const parties = new Parties()
  await parties.connect()
  const duplex = new StreamDuplex(parties.opener.open({ kind: 'ssh', machine: 'home' }))
  duplex.resume()
  const buffer = Buffer.alloc(4)
  const written = (async () => {
    for (const word of ['aaaa', 'bbbb', 'cccc']) {
      buffer.write(word)
      await new Promise((resolve) => duplex.write(buffer, resolve))
    }
  })()
  await parties.pass(100)
  await written
  await parties.pass(100)
  assert.equal(parties.accepted[0]!.bytes.toString(), 'aaaabbbbcccc')
})

test('a write that waits hears of the end of its stream, whichever side ends it', async () => {
  const parties = new Parties({ takes: false })
  await parties.connect()
  for (const end of ['there', 'here']) {
    const duplex = await duplexOf(parties)
    const failed = new Promise<unknown>((resolve) => duplex.write(new Uint8Array(MIB), resolve))
    await parties.pass(100)
    const error = new TunnelError('CONNECT_REFUSED', 'gone', { hop: 'link' })
    if (end === 'there') parties.accepted.at(-1)!.stream.reset(error)
    else duplex.destroy()
    await parties.pass(100)
    assert.equal(((await failed) as TunnelError).code, end === 'there' ? 'CONNECT_REFUSED' : 'ABORTED')
  }
})
