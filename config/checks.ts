import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { createSecureContext } from 'node:tls'
import { isMachineName, MACHINE_NAME_RULE } from '../protocol/codec/heads.ts'
import { isMetadata } from '../protocol/node/addresses.ts'
import { MIN_SECRET_BYTES } from '../protocol/node/secrets.ts'
import type { Problem } from './errors.ts'
import { MASK } from './nodes.ts'
import type { Settings } from './schema.ts'

/** What no schema can say of settings: whether files can be read, addresses are some, and what is dangerous together. */

export class Checks {
  readonly problems: Problem[] = []
  readonly warnings: string[] = []
  readonly #settings: Settings
  readonly #sources: ReadonlyMap<string, string>

  /**
   * @param sources of settings, by path
   * @param profile what may be left open in `development` may not elsewhere
   */
  constructor(settings: Settings, sources: ReadonlyMap<string, string>, profile: string) {
    this.#settings = settings
    this.#sources = sources
    this.#tls()
    this.#trustProxy()
    this.#networks('rateLimit.penalties.exempt', settings.rateLimit.penalties.exempt)
    this.#issuer(profile)
    this.#redis()
    this.#cluster()
    this.#machines()
    this.#exposures()
  }

  #refuse(path: string, value: unknown, reason: string): void {
    const source = this.#sources.get(path) ?? 'default'
    this.problems.push({ kind: 'value', path, value: JSON.stringify(value), source, reason })
  }

  #tls(): void {
    const { tls } = this.#settings.server
    if (tls === undefined) return
    const [cert, key] = [this.#read('server.tls.cert', tls.cert), this.#read('server.tls.key', tls.key)]
    const ca = this.#read('server.tls.agentCa', tls.agentCa)
    if (cert === undefined || key === undefined) return
    try {
      createSecureContext({ cert, key, ...(ca !== undefined && { ca }) })
    } catch (error) {
      const reason = `the certificate and the key cannot be used together (${(error as Error).message})`
      this.#refuse('server.tls.cert', tls.cert, reason)
    }
  }

  #read(path: string, file: string | undefined): Buffer | undefined {
    // A half that is missing was refused by the schema.
    if (file === undefined) return undefined
    try {
      return readFileSync(file)
    } catch (error) {
      this.#refuse(path, file, `the file cannot be read (${(error as NodeJS.ErrnoException).code})`)
      return undefined
    }
  }

  #trustProxy(): void {
    const { trustProxy } = this.#settings.server
    if (trustProxy === false) return
    this.#networks('server.trustProxy', trustProxy, NAMED_NETWORKS)
    // Anybody could say any address, and have the limits of another one.
    if (trustProxy.some((entry) => entry.endsWith('/0')))
      this.#refuse(
        'server.trustProxy',
        trustProxy,
        'believes everybody: name the addresses of the reverse proxy',
      )
  }

  #networks(path: string, entries: readonly string[], names: ReadonlySet<string> = new Set()): void {
    const wrong = entries.filter((entry) => !names.has(entry) && !isNetwork(entry))
    if (wrong.length === 0) return
    const allowed = ['address', 'network (10.0.0.0/8)', ...names].join(', ')
    this.#refuse(
      path,
      entries,
      `${wrong.map((entry) => JSON.stringify(entry)).join(', ')} is not an ${allowed}`,
    )
  }

  #issuer(profile: string): void {
    const { issuer, audience, jwks, login } = this.#settings.auth
    const isChecked = profile !== 'development'
    const names = { issuer, audience }
    for (const [name, value] of Object.entries(names)) {
      if (value !== '' || !isChecked) continue
      this.#refuse(`auth.${name}`, value, 'must say what tokens have to, except with the profile development')
    }
    if (login.clientId !== '' && jwks.url === '')
      this.#refuse(
        'auth.login.clientId',
        login.clientId,
        'needs auth.jwks.url, by which what the issuer gives is checked',
      )
    if (jwks.url === '') return
    if (!isIssuerUrl(jwks.url))
      this.#refuse('auth.jwks.url', jwks.url, 'must be an https address, or one on this machine')
    if (!this.#sources.has('auth.issuer'))
      this.#refuse('auth.issuer', issuer, 'must name the issuer whose keys auth.jwks.url has')
  }

  #machines(): void {
    for (const [name, { host }] of Object.entries(this.#settings.machines)) {
      const path = `machines.${name}`
      if (!isMachineName(name))
        this.#refuse(path, name, `is not a valid name of a machine: ${MACHINE_NAME_RULE}`)
      // One without a host is a mistake that has been told.
      if (host !== undefined && isMetadata(host))
        this.#refuse(`${path}.host`, host, 'is a link-local or metadata address, which is never reached')
    }
  }

  #redis(): void {
    const { store, redisUrl, sentinels } = this.#settings.state
    if (store !== 'redis' && sentinels.length > 0)
      this.#refuse('state.sentinels', sentinels, 'needs state.store = redis')
    if (store !== 'redis' && redisUrl === '') return
    const path = 'state.redisUrl'
    if (store !== 'redis') this.#refuse(path, MASK, 'needs state.store = redis')
    else if (!isRedisUrl(redisUrl))
      this.#refuse(path, redisUrl && MASK, 'must be redis:// or rediss://, user:password@host:port/database')
    else if (!redisUrl.startsWith('rediss:') && !isHere(new URL(redisUrl).hostname))
      this.warnings.push(`${path} has no TLS (rediss://): password and records cross the network readable`)
  }

  #cluster(): void {
    const { cluster, state } = this.#settings
    const { enabled, secret, url, peers, port, tls } = cluster
    for (const [path, value] of [
      ['cluster.url', url],
      ...peers.map((peer) => ['cluster.peers', peer] as const),
    ] as const)
      if (value !== '' && !isReplicaUrl(value))
        this.#refuse(path, value, 'must be http://host:port or https://host:port, and nothing behind it')
    for (const name of ['cert', 'key', 'ca'] as const) this.#read(`cluster.tls.${name}`, tls?.[name])
    if (!enabled) return
    if (Buffer.byteLength(secret) < MIN_SECRET_BYTES)
      this.#refuse(
        'cluster.secret',
        MASK,
        `must be at least ${MIN_SECRET_BYTES} bytes long with cluster.enabled, the same on all replicas`,
      )
    // Each would pin host keys, revoke tokens and use up tickets for itself alone.
    if (state.store !== 'redis') this.#refuse('cluster.enabled', true, 'needs state.store = redis')
    if (url === '' && peers.length === 0)
      this.#refuse('cluster.enabled', true, 'needs cluster.url or cluster.peers: no other replica is found')
    if (tls !== undefined && port === undefined)
      this.#refuse('cluster.tls', tls, 'needs cluster.port: it is for the links between replicas alone')
    if (tls === undefined && [url, ...peers].some((each) => each.startsWith('http:') && !isLocal(each)))
      this.warnings.push(
        'links between replicas have no TLS (cluster.tls): streams cross the network readable',
      )
  }

  #exposures(): void {
    const { server, auth, ssh } = this.#settings
    if (!LOOPBACK.test(server.host) && server.tls === undefined && server.trustProxy === false) {
      const danger = 'is reachable from other machines and has no TLS: tokens cross the network readable'
      this.warnings.push(`${server.host} ${danger}`)
    }
    if (auth.secret !== '' && auth.secret === ssh.masterSecret) {
      const danger = 'are the same: anyone who can sign a token could derive every SSH key'
      this.warnings.push(`auth.secret and ssh.masterSecret ${danger}`)
    }
  }
}

const LOOPBACK = /^(127\.|::1$|localhost$)/
const NAMED_NETWORKS: ReadonlySet<string> = new Set(['loopback', 'linklocal', 'uniquelocal'])

function isHere(hostname: string): boolean {
  return /^(127(\.\d+){3}|\[::1\]|localhost)$/.test(hostname)
}

function isReplicaUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, username, pathname, search, hash } = new URL(text)
  return /^https?:$/.test(protocol) && username + search + hash === '' && pathname === '/'
}

function isLocal(url: string): boolean {
  return URL.canParse(url) && isHere(new URL(url).hostname)
}

/** Nothing behind a question mark: ioredis would take it for options. */
function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, pathname, search, hash } = new URL(text)
  const isPlain = search === '' && hash === '' && /^(\/\d{0,5})?$/.test(pathname)
  return /^rediss?:$/.test(protocol) && hostname !== '' && isPlain
}

/** Whoever can change what it answers can make tokens. */
function isIssuerUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, username, password } = new URL(text)
  const isPrivate = protocol === 'https:' || (protocol === 'http:' && isHere(hostname))
  return isPrivate && username === '' && password === ''
}

function isNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}
