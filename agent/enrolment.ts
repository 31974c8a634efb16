import type { Enrolment } from '../protocol/codec/hello.ts'
import type { Target } from '../protocol/codec/target.ts'
import type { AgentLog } from './options.ts'
import { scanHostKey } from './scan-host-key.ts'
import { OWN, type SourceAddresses } from './source-address.ts'

/** How often an SSH server that did not answer is asked again for its host key, in ms; doubles up to the second. */
const RESCAN_MS = 5_000
const RESCAN_MAX_MS = 60_000
/** A key that was read this long ago is read again when a link is lost, in ms: the next link tells it. */
const SCAN_AGAIN_MS = 600_000

export interface MachineKeysOptions {
  ssh: Target
  sshUser: string
  log: AgentLog
  sources: SourceAddresses
  /** The SSH server shows another key than before, or the first. */
  changed: () => void
}

/** What a HELLO says of this machine: its SSH server's host key, read again when it may be another. */
export class MachineKeys {
  readonly #options: MachineKeysOptions
  #hostKey: string | undefined
  #scannedAtMs = Number.NEGATIVE_INFINITY
  #rescanMs = RESCAN_MS
  #rescan: NodeJS.Timeout | undefined
  #isScanning = false
  #closed = false

  constructor(options: MachineKeysOptions) {
    this.#options = options
  }

  get enrolment(): Enrolment {
    return {
      hostKeys: this.#hostKey === undefined ? [] : [this.#hostKey],
      sshUser: this.#options.sshUser,
    }
  }

  get hasHostKey(): boolean {
    return this.#hostKey !== undefined
  }

  /** Reads the key; when nobody answers, again later. */
  async scan(): Promise<void> {
    this.#scannedAtMs = performance.now()
    clearTimeout(this.#rescan)
    const { ssh, log, changed, sources } = this.#options
    this.#isScanning = true
    const hostKey = await scanHostKey(ssh, sources.addressFor(OWN), this.#hostKey)
    this.#isScanning = false
    if (this.#closed) return
    if (hostKey !== undefined) {
      const isNew = hostKey !== this.#hostKey
      this.#hostKey = hostKey
      if (isNew) changed()
      return
    }
    if (this.#hostKey !== undefined) return
    if (this.#rescanMs === RESCAN_MS)
      log('warn', `no SSH server answers at ${ssh.authority} yet; the agent goes on asking`)
    this.#scanIn(this.#rescanMs)
    this.#rescanMs = Math.min(RESCAN_MAX_MS, this.#rescanMs * 2)
  }

  #scanIn(ms: number): void {
    clearTimeout(this.#rescan)
    this.#rescan = setTimeout(() => void this.scan(), ms).unref()
  }

  /** The SSH server is there, somebody has heard it: its key is not waited for any longer. */
  spoken(): void {
    if (this.#closed || this.#isScanning || this.#hostKey !== undefined) return
    // It may be something that speaks and is no SSH server, and whoever asks for it may ask again and again.
    this.#scanIn(Math.max(0, this.#scannedAtMs + RESCAN_MS - performance.now()))
  }

  /** As `scan`, unless that was a moment ago. */
  refresh(): void {
    if (performance.now() - this.#scannedAtMs > SCAN_AGAIN_MS) void this.scan()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#rescan)
  }
}
