import { TunnelError } from './errors.ts'

export const SUBPROTOCOL = 'tunnel.v1'

/** On an agent's dial: the instances at which it has links. A proxy that is one of them answers ALREADY_HOME. */
export const NOT_HEADER = 'tunnel-not'
export const PROTOCOL_VERSION = 1

export type Role = 'client' | 'agent' | 'relay' | 'proxy'
const ROLES: ReadonlySet<unknown> = new Set<Role>(['client', 'agent', 'relay', 'proxy'])

/** What an agent says of its machine when it enrols. */
export interface Enrolment {
  /** The SSH server's public host keys: `ssh-ed25519 AAAA…`. */
  hostKeys: string[]
  /** The account that inspected mode signs in to. */
  sshUser: string
}

/** Which replica of the proxy speaks, on a link between two. */
export interface Replica {
  /** 1 to 128 characters, none of them white space. */
  id: string
  /** Random and used once, 64 hex digits: what its peer's proof is made over. */
  nonce: string
}

/** The first frame each way. The dialler speaks first; the stricter of both holds. */
export interface Hello {
  role: Role
  version: number
  /** Name and version of the program, for people. */
  software: string
  /** An agent's machine. */
  machine?: string
  /** Random, made when the program starts: whether a second link is the same agent's or a rival's. */
  instance?: string
  heartbeat: { intervalMs: number; timeoutMs: number }
  limits: { maxFrameBytes: number; maxStreams: number }
  /** How long this party keeps a stream without a link, in ms. */
  resumeMs: number
  enrol?: Enrolment
  /** An agent's: counts its starts, so that of two programs with one name the later one has it. */
  epoch?: number
  /** Role `relay`. */
  replica?: Replica
  /** A proxy's: it is one of several, so that an agent does well to have a link to another one too. */
  isOneOfSeveral?: boolean
}

/** One key of each type that there is, and room for new ones. */
const MAX_HOST_KEYS = 8
/** An RSA key of 4,096 bits is 716 characters in base64. */
const MAX_HOST_KEY_CHARS = 2_048

/** The least that a party has to take, in bytes: the longest head, and as much again of first bytes or of data. */
const MIN_FRAME_LIMIT_BYTES = 131_072

function positive(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 255
}

function isEnrolment(value: unknown): value is Enrolment {
  const { hostKeys, sshUser } = (value ?? {}) as Partial<Enrolment>
  return (
    Array.isArray(hostKeys) &&
    hostKeys.length <= MAX_HOST_KEYS &&
    hostKeys.every((key) => typeof key === 'string' && key.length <= MAX_HOST_KEY_CHARS) &&
    typeof sshUser === 'string' &&
    sshUser.length <= 128
  )
}

const REPLICA_ID = /^\S{1,128}$/
const NONCE = /^[0-9a-f]{64}$/

function isReplica(value: unknown): value is Replica {
  const { id, nonce } = (value ?? {}) as Partial<Replica>
  return typeof id === 'string' && REPLICA_ID.test(id) && typeof nonce === 'string' && NONCE.test(nonce)
}

/** Whether an agent can have this epoch. */
export function isEpoch(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** @throws {TunnelError} VERSION_UNSUPPORTED, FRAME_INVALID */
export function checkHello(body: Record<string, unknown>): Hello {
  if (body.version !== PROTOCOL_VERSION) {
    const said = typeof body.version === 'number' ? body.version : typeof body.version
    throw new TunnelError(
      'VERSION_UNSUPPORTED',
      `version ${said} is not supported; this end speaks version ${PROTOCOL_VERSION}`,
      { hop: 'link' },
    )
  }
  const hello = body as unknown as Hello
  const valid =
    ROLES.has(hello.role) &&
    isName(hello.software) &&
    (hello.machine === undefined || isName(hello.machine)) &&
    (hello.instance === undefined || isName(hello.instance)) &&
    positive(hello.heartbeat?.intervalMs) &&
    positive(hello.heartbeat?.timeoutMs) &&
    positive(hello.limits?.maxFrameBytes) &&
    hello.limits.maxFrameBytes >= MIN_FRAME_LIMIT_BYTES &&
    positive(hello.limits?.maxStreams) &&
    Number.isSafeInteger(hello.resumeMs) &&
    hello.resumeMs >= 0 &&
    (hello.enrol === undefined || isEnrolment(hello.enrol)) &&
    (hello.epoch === undefined || isEpoch(hello.epoch)) &&
    (hello.replica === undefined || isReplica(hello.replica)) &&
    (hello.isOneOfSeveral === undefined || typeof hello.isOneOfSeveral === 'boolean')
  if (!valid)
    throw new TunnelError('FRAME_INVALID', 'HELLO lacks a field or has one of another type', { hop: 'link' })
  return known(hello)
}

/** What is kept for as long as the link stands: nothing that is not known. */
function known({
  role,
  version,
  software,
  machine,
  instance,
  heartbeat,
  limits,
  resumeMs,
  enrol,
  epoch,
  replica,
  isOneOfSeveral,
}: Hello): Hello {
  const hello: Hello = {
    role,
    version,
    software,
    heartbeat: { intervalMs: heartbeat.intervalMs, timeoutMs: heartbeat.timeoutMs },
    limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: limits.maxStreams },
    resumeMs,
  }
  if (machine !== undefined) hello.machine = machine
  if (instance !== undefined) hello.instance = instance
  if (enrol !== undefined) hello.enrol = { hostKeys: [...enrol.hostKeys], sshUser: enrol.sshUser }
  if (epoch !== undefined) hello.epoch = epoch
  if (isOneOfSeveral !== undefined) hello.isOneOfSeveral = isOneOfSeveral
  if (replica !== undefined) hello.replica = { id: replica.id, nonce: replica.nonce }
  return hello
}

/** The least that a peer can make us ping, in ms, whatever it asks for. */
const MIN_INTERVAL_MS = 100

/** The stricter of two heartbeats: the shorter interval and the shorter patience. */
export function stricterHeartbeat(
  ours: Hello['heartbeat'],
  theirs: Hello['heartbeat'],
): { intervalMs: number; timeoutMs: number } {
  const intervalMs = Math.max(MIN_INTERVAL_MS, Math.min(ours.intervalMs, theirs.intervalMs))
  const timeoutMs = Math.min(ours.timeoutMs, theirs.timeoutMs)
  return { intervalMs, timeoutMs: Math.max(intervalMs + MIN_INTERVAL_MS, timeoutMs) }
}
