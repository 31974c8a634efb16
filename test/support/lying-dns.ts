import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, isIP } from 'node:net'
import { join } from 'node:path'
import type { Scope } from './scope.ts'
import { findProgram } from './system.ts'
import { tempFolder } from './tree.ts'

/** Port 53 of an address that nobody else has: the system's resolver asks no other port. */
const ADDRESS = `127.53.${process.pid % 250}.53`
const PORT = 53
const A = 1
const AAAA = 28
/** What fits into a datagram whose asker has said nothing else (RFC 1035, section 4.2.1). */
const MAX_DATAGRAM = 512
const HEADER_BYTES = 12

/** The addresses of a name, each time that it is asked for; undefined: there is no such name; 'silent': no answer. */
export type Lies = (name: string, family: 4 | 6) => readonly string[] | undefined | 'silent'

export interface LyingDns {
  /** Names in the order in which they were asked for. */
  readonly asked: string[]
  /** The words in front of a program's that make it ask here, whatever else it asks of the system. */
  readonly words: readonly string[]
}

/** Why a program cannot be made to ask here: that takes root, and a mount namespace. */
export function noLyingDns(): string | undefined {
  if (process.getuid?.() !== 0 || findProgram('unshare') === undefined) return 'takes root and unshare'
  return spawnSync('unshare', ['-m', 'true']).status === 0 ? undefined : 'takes a mount namespace'
}

/** A name server, over UDP and TCP, that answers what a test likes. */
export async function startLyingDns(scope: Scope, lies: Lies): Promise<LyingDns> {
  const asked: string[] = []
  const answer = (question: Buffer): Buffer | undefined => {
    const { name, type, end } = readQuestion(question)
    asked.push(name)
    const found = lies(name, type === AAAA ? 6 : 4)
    if (found === 'silent') return undefined
    const wanted = type === A ? 4 : type === AAAA ? 6 : 0
    const addresses = found?.filter((address) => isIP(address) === wanted) ?? []
    return message(question.subarray(0, end), addresses, found === undefined)
  }
  const udp = createSocket('udp4', (question, { port, address }) => {
    const whole = answer(question)
    if (whole !== undefined) udp.send(whole.length > MAX_DATAGRAM ? truncated(whole) : whole, port, address)
  })
  udp.bind(PORT, ADDRESS)
  const tcp = createServer((socket) => {
    socket.on('error', () => {})
    let left = Buffer.alloc(0)
    socket.on('data', (bytes: Buffer) => {
      left = Buffer.concat([left, bytes])
      while (left.length >= 2 && left.length >= 2 + left.readUInt16BE(0)) {
        const end = 2 + left.readUInt16BE(0)
        const whole = answer(left.subarray(2, end))
        left = left.subarray(end)
        if (whole === undefined) continue
        const length = Buffer.alloc(2)
        length.writeUInt16BE(whole.length)
        socket.write(Buffer.concat([length, whole]))
      }
    })
  })
  tcp.listen(PORT, ADDRESS)
  await Promise.all([once(udp, 'listening'), once(tcp, 'listening')])
  scope.after(() => {
    udp.close()
    tcp.close()
  })
  const file = join(await tempFolder(scope, 'resolver'), 'resolv.conf')
  await writeFile(file, `nameserver ${ADDRESS}\noptions timeout:30 attempts:1 single-request\n`)
  const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
  return { asked, words: ['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, file] }
}

function readQuestion(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = HEADER_BYTES
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.'), type: message.readUInt16BE(at + 1), end: at + 5 }
}

/** @param question the header of the asker's message, and the question itself */
function message(question: Buffer, addresses: readonly string[], isMissing: boolean): Buffer {
  const head = Buffer.from(question)
  head.writeUInt16BE(isMissing ? 0x81_83 : 0x81_80, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(addresses.length, 6)
  head.fill(0, 8, HEADER_BYTES)
  return Buffer.concat([head, ...addresses.map(record)])
}

function truncated(whole: Buffer): Buffer {
  const { end } = readQuestion(whole)
  const short = Buffer.from(whole.subarray(0, end))
  short.writeUInt16BE(0x83_80, 2)
  short.writeUInt16BE(0, 6)
  return short
}

/** Of the name that was asked for, good for no time at all. */
function record(address: string): Buffer {
  const bytes = bytesOf(address)
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc0_0c, 0)
  head.writeUInt16BE(isIP(address) === 4 ? A : AAAA, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(bytes.length, 10)
  return Buffer.concat([head, bytes])
}

function bytesOf(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const read = (text: string) =>
    text.split(':').flatMap((group) => (group === '' ? [] : Number.parseInt(group, 16)))
  const [first, last] = [read(head), read(tail)]
  const groups = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last]
  return Buffer.from(groups.flatMap((group) => [group >> 8, group & 255]))
}
