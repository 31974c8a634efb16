import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { scaleTables } from '../bench/scale/table.ts'
import { ERROR_KINDS } from '../protocol/codec/errors.ts'
import {
  decodeHead,
  decodeWindow,
  encodeFrame,
  encodeHead,
  encodeWindow,
  FrameType,
  TYPE_MASK,
} from '../protocol/codec/frames.ts'
import type { Hello } from '../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume } from '../protocol/link/handlers.ts'
import type { Link } from '../protocol/link/link.ts'
import { Relay } from '../protocol/stream/relay.ts'
import { RelayMemory } from '../protocol/stream/relay-memory.ts'
import { linkOf, MIB, Parties } from './protocol/parties.ts'
import type { MemoryPair } from './support/memory-transport.ts'

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

test('docs/SCALE.md has the tables that the model gives', () => {
  const scale = readFileSync(new URL('../docs/SCALE.md', import.meta.url), 'utf8')
  for (const table of scaleTables()) assert.ok(scale.includes(`\n${table}\n`), `npm run scale:\n${table}`)
})

/** One id for every stream, so that what is written can be compared. */
const ID = '0123456789abcdef0123456789abcdef'

/** A frame as docs/PROTOCOL.md writes it: type, stream number, body. */
function shown(frame: Uint8Array): string {
  const bytes = Buffer.from(frame)
  const type = bytes[0]! & TYPE_MASK
  const text = bytes.toString()
  const cuts = type === FrameType.WINDOW ? [1, 5, 11] : [1, 5]
  if (type === FrameType.OPEN || type === FrameType.ACCEPT) cuts.push(9)
  const brace = text.indexOf('{')
  const hexEnd = brace < 0 ? bytes.length : brace
  const ends = [...cuts.filter((cut) => cut < hexEnd), hexEnd]
  const hex = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end).toString('hex'))
  return [...hex, text.slice(hexEnd).replace(/"id":"[0-9a-f]{32}"/, `"id":"${ID}"`)].join(' ').trim()
}

/** The frames of the example under this heading, each with who sends it to whom. */
function example(heading: string): [string, string][] {
  const block = protocol.split(`### Example: ${heading}\n`)[1]?.split('```')[1]?.trim() ?? ''
  // What is indented belongs to the line above: the rest of its JSON, or the comment.
  const whole = block.replaceAll(/\n +(?=["{])/g, '').replaceAll(/\n +/g, '   ')
  return whole
    .split(/\n+/)
    .map((line) => line.split(/ {3,}/))
    .map(([frame = '', comment = '']) => [frame, comment.replace(/:.*/, '')])
}

/** A client, an agent, and a proxy that relays between them and holds a RESUME until its agent is there. */
class Scene {
  readonly parties = new Parties()
  said: [frame: string, direction: string][] = []
  readonly #memory = new RelayMemory(MIB)
  #agentLink: Link | undefined
  #held: (() => void)[] = []

  /** What one says to the other is written down. */
  #pair(near: string, far: string): MemoryPair {
    const pair = this.parties.newPair()
    pair.a.onSend = (frame) => this.said.push([shown(frame), `${near} → ${far}`])
    pair.b.onSend = (frame) => this.said.push([shown(frame), `${far} → ${near}`])
    return pair
  }

  async dialStraight(): Promise<MemoryPair> {
    const { parties } = this
    const pair = this.#pair('opener', 'acceptor')
    parties.listen(pair.b, {}, HELLO.proxy)
    return this.#dialled(pair)
  }

  async dialRelay(): Promise<MemoryPair> {
    const pair = this.#pair('client', 'proxy')
    const route = (incoming: IncomingOpen | IncomingResume): void => {
      const relay = new Relay(incoming, { memory: this.#memory })
      const go = () => relay.connect(this.#agentLink!, { ...incoming.head, subject: 'alice' })
      if (this.#agentLink?.closed === false) go()
      else this.#held.push(go)
    }
    linkOf(pair.b, this.parties.clock, false, { open: route, resume: route }, HELLO.proxy)
    return this.#dialled(pair)
  }

  async #dialled(pair: MemoryPair): Promise<MemoryPair> {
    const { parties } = this
    const ready = () => parties.opener.attach(link)
    const link: Link = linkOf(pair.a, parties.clock, true, { ready }, HELLO.client)
    await parties.pass(10)
    return pair
  }

  async dialAgent(): Promise<MemoryPair> {
    const { parties } = this
    const pair = this.#pair('agent', 'proxy')
    this.#agentLink = linkOf(pair.b, parties.clock, false, {}, HELLO.proxy)
    const handlers = {
      open: (open: IncomingOpen) => parties.acceptor.open(open, open.head.subject),
      resume: (resume: IncomingResume) => parties.acceptor.resume(resume, resume.head.subject),
    }
    linkOf(pair.a, parties.clock, true, handlers, HELLO.agent)
    await parties.pass(10)
    for (const go of this.#held.splice(0)) go()
    await parties.pass(10)
    return pair
  }

  /** What was said since the last time, greetings aside. */
  takeSaid(): [string, string][] {
    const taken = this.said.filter(([frame]) => !frame.startsWith('01'))
    this.said = []
    return taken
  }
}

const common = { heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 }, resumeMs: 120_000 }
const limits = { maxFrameBytes: 1_048_576, maxStreams: 256 }
const HELLO: Record<'client' | 'agent' | 'proxy', Hello> = {
  client: { role: 'client', version: 1, software: 'example 1.0', limits, ...common },
  agent: { role: 'agent', version: 1, software: 'example 1.0', limits, machine: 'home', ...common },
  proxy: { role: 'proxy', version: 1, software: 'example 1.0', limits, instance: '5f0c', ...common },
}

test('the HELLO exchange in docs/PROTOCOL.md is what the code writes', async () => {
  const scene = new Scene()
  await scene.dialRelay()
  assert.deepEqual(scene.said, example('HELLO'))
})

test('the cut in docs/PROTOCOL.md, with RESUME, RESUMED and the replay, is what the code writes', async () => {
  const scene = new Scene()
  const { parties } = scene
  const first = await scene.dialStraight()
  const near = parties.open()
  await parties.pass(10)
  near.stream.write(Buffer.from('hello'))
  await parties.pass(200)
  first.freeze()
  near.stream.write(Buffer.from(' world'))
  await parties.pass(10)
  first.cut()
  await scene.dialStraight()
  await parties.pass(200)
  assert.equal(String(parties.accepted[0]?.bytes), 'hello world')
  assert.deepEqual(scene.takeSaid(), example('a cut'))
})

test('the relay in docs/PROTOCOL.md, whose agent goes and comes, is what the code writes', async () => {
  const scene = new Scene()
  const { parties } = scene
  const agent = await scene.dialAgent()
  await scene.dialRelay()
  const near = parties.open()
  await parties.pass(200)
  agent.freeze()
  near.stream.write(Buffer.from('hello'))
  await parties.pass(10)
  agent.cut()
  await parties.pass(1_000)
  await scene.dialAgent()
  await parties.pass(200)
  assert.equal(String(parties.accepted[0]?.bytes), 'hello')
  assert.deepEqual(scene.takeSaid(), example('a relay'))
})

test('docs/ARCHITECTURE.md names only files and folders that are there', () => {
  const text = readFileSync(new URL('../docs/ARCHITECTURE.md', import.meta.url), 'utf8')
  const named = [...text.matchAll(/`([a-z][\w-]*(?:\/[\w.-]+)*\/(?:[\w.-]+\.ts)?|server\.ts)`/g)].map(
    ([, path = '']) => path,
  )
  assert.ok(named.length > 30, `only ${named.length} names were found`)
  for (const path of new Set(named)) {
    assert.ok(existsSync(new URL(`../${path}`, import.meta.url)), `${path} is not there`)
  }
})

test('a TunnelError in docs/PLUGINS.md says at which hop it arose, as its constructor asks', () => {
  const plugins = readFileSync(new URL('../docs/PLUGINS.md', import.meta.url), 'utf8')
  const made = [...plugins.matchAll(/new TunnelError\((.*)\)/g)].map(([, args = '']) => args)
  assert.ok(made.length >= 3)
  for (const args of made) assert.match(args, /^'[A-Z_]+', '.+', \{ hop: 'proxy' \}$/)
})
