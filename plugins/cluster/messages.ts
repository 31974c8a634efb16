import { isEpoch } from '../../protocol/codec/hello.ts'
import type { Presence } from '../machines/index.ts'
import { messageInvalid } from './errors.ts'

/** What a replica tells of itself. */
export interface ReplicaState {
  /** Streams that it carries. */
  readonly load: number
  readonly draining: boolean
  /** The replicas to which it has a link, by their ids; undefined where it does not say, or they are too many. */
  readonly peers: readonly string[] | undefined
  /** How far its clock is ahead of this one's, in ms; undefined where it does not say. */
  readonly aheadMs?: number
}

/** What a replica tells another, in MESH frames. */
export type Message =
  | { readonly is: 'proof'; readonly proof: string }
  /** `at`: the third replica that has them, of which the other has asked. @default the one that tells */
  | { readonly is: 'present'; readonly agents: readonly Presence[]; readonly at?: string }
  | { readonly is: 'gone'; readonly owner: string; readonly name: string; readonly at?: string }
  | ({ readonly is: 'state' } & ReplicaState)
  /** The other has no link to the replica `of`, and is to be told of its agents, or not any more. */
  | { readonly is: 'show' | 'hide'; readonly of: string }
  | { readonly is: 'revoked'; readonly revoked: unknown }
  /** What an operator wants to know of all replicas; `number` names the question in the answer. */
  | {
      readonly is: 'ask'
      readonly number: number
      readonly what: string
      readonly about: Record<string, unknown>
    }
  /** `more`: the rest follows; `cut`: there is more than one answer may have. */
  | {
      readonly is: 'answer'
      readonly number: number
      readonly items: readonly unknown[]
      readonly more: boolean
      readonly cut: boolean
    }

/** Agents in one frame, at most. */
const AGENTS_PER_FRAME = 64
/** Of their JSON: half of what a frame's may have. An agent chooses its instance, and a control character is six in JSON. */
const AGENT_BYTES_PER_FRAME = 32_768
/** An epoch is the time of a start, where the machine's own count is not ahead of it. */
const MAX_AHEAD_MS = 86_400_000
const MAX_TEXT = 255
/** With the longest ids a list of them stays below the bound of a JSON body. */
export const MAX_PEERS = 64

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= MAX_TEXT

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value)

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** As JSON. */
export function toWire(message: Message, nowMs = Date.now()): object {
  if (message.is === 'present') return { ...message, agents: message.agents.map(agentToWire) }
  return message.is === 'state' ? { ...message, clockMs: nowMs } : message
}

function agentToWire({ owner, name, program }: Presence): unknown[] {
  return [owner, name, program.instance, program.epoch]
}

/** As many of them at a time as one frame can tell of, whatever they call themselves. */
export function* inFrames(agents: Iterable<Presence>): Generator<Presence[]> {
  let some: Presence[] = []
  let bytes = 0
  for (const agent of agents) {
    const more = Buffer.byteLength(JSON.stringify(agentToWire(agent)))
    if (some.length === AGENTS_PER_FRAME || (some.length > 0 && bytes + more > AGENT_BYTES_PER_FRAME)) {
      yield some
      some = []
      bytes = 0
    }
    some.push(agent)
    bytes += more
  }
  if (some.length > 0) yield some
}

/** Undefined for what this version does not know. @throws {TunnelError} FRAME_INVALID */
export function fromWire(body: Record<string, unknown>, nowMs = Date.now()): Message | undefined {
  switch (body.is) {
    case 'proof':
      if (!isText(body.proof)) throw messageInvalid('proof is not a text')
      return { is: 'proof', proof: body.proof }
    case 'present':
      if (!Array.isArray(body.agents)) throw messageInvalid('present has no list')
      return {
        is: 'present',
        agents: body.agents.flatMap((agent) => presenceOf(agent, nowMs)),
        ...atOf(body),
      }
    case 'gone':
      if (!isText(body.owner) || !isText(body.name)) throw messageInvalid('gone names no machine')
      return { is: 'gone', owner: body.owner, name: body.name, ...atOf(body) }
    case 'state': {
      const { load, draining, peers } = body
      if (typeof load !== 'number' || !(load >= 0)) throw messageInvalid('state has no load')
      const { clockMs } = body
      const aheadMs = typeof clockMs === 'number' && Number.isFinite(clockMs) ? clockMs - nowMs : undefined
      return {
        ...{ is: 'state', load, draining: draining === true, peers: peersOf(peers) },
        ...(aheadMs !== undefined && { aheadMs }),
      }
    }
    case 'show':
    case 'hide':
      if (!isText(body.of)) throw messageInvalid(`${body.is} names no replica`)
      return { is: body.is, of: body.of }
    case 'revoked':
      return { is: 'revoked', revoked: body.revoked }
    case 'ask': {
      const { number, what, about } = body
      if (!isNumber(number) || !isText(what) || !isObject(about)) throw messageInvalid('ask: no question')
      return { is: 'ask', number, what, about }
    }
    case 'answer': {
      const { number, items, more, cut } = body
      if (!isNumber(number) || !Array.isArray(items)) throw messageInvalid('answer: no list')
      return { is: 'answer', number, items, more: more === true, cut: cut === true }
    }
    default:
      return undefined
  }
}

function peersOf(value: unknown): string[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length > MAX_PEERS || !value.every(isText))
    throw messageInvalid('state: peers is not a list of ids')
  return value
}

function atOf({ at }: Record<string, unknown>): { at?: string } {
  if (at === undefined) return {}
  if (!isText(at)) throw messageInvalid('at is not the id of a replica')
  return { at }
}

/**
 * None for one with an epoch of a day that is to come, which would take its name for ever. It is an agent's word, and a
 * user's: it ends no link that others need.
 */
function presenceOf(value: unknown, nowMs: number): [Presence] | [] {
  const [owner, name, instance, epoch] = Array.isArray(value) ? value : []
  // No owner has a space in it: owner and name are one key.
  if (!isText(owner) || owner.includes(' ') || !isText(name)) throw messageInvalid('present names no machine')
  if (typeof instance !== 'string' || instance.length > MAX_TEXT)
    throw messageInvalid('present: an instance is not a text')
  if (!isEpoch(epoch)) throw messageInvalid('present: an epoch is not a number')
  return epoch > nowMs + MAX_AHEAD_MS ? [] : [{ owner, name, program: { instance, epoch } }]
}
