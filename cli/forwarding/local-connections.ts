import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'

/** Connections of one command at once, where the system does not set a lower limit. */
const MAX_CONNECTIONS = 1_000
/** Descriptors that stay free for the command's own use, such as dialling the proxy again. */
const RESERVED_DESCRIPTORS = 24
/** What is assumed where the limit cannot be learned. */
const USUAL_DESCRIPTORS = 256
const ASK_MS = 1_000

/** The connections that local programs have made, all listeners together; each is closed with the command. */
export class LocalConnections {
  readonly max: number
  readonly #sockets = new Set<Socket>()

  /** @param max more of them are turned away */
  constructor(max = affordable()) {
    this.max = max
  }

  /** Whether there is room for this one; otherwise it has been reset. */
  admit(socket: Socket): boolean {
    // Whoever carries it listens to 'close'; without any listener an error would end the process.
    socket.on('error', () => {})
    if (this.#sockets.size >= this.max) {
      reset(socket)
      return false
    }
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    return true
  }

  close(): void {
    for (const socket of this.#sockets) reset(socket)
  }
}

/** Ends a connection so that its program does not take what it has had for the whole. */
export function reset(socket: Socket): void {
  // Only TCP has a reset.
  if (socket.localPort === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

/**
 * As many as there are descriptors for. Where they run out, the kernel's connections would be closed by libuv without a
 * word to anybody, and the link to the proxy could not be dialled again.
 */
function affordable(): number {
  const free = openFilesLimit() - descriptorsInUse() - RESERVED_DESCRIPTORS
  return Math.max(1, Math.min(MAX_CONNECTIONS, free))
}

function openFilesLimit(): number {
  try {
    const [, limit] =
      /^Max open files +(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
    if (limit !== undefined) return Number(limit) || Number.POSITIVE_INFINITY
  } catch {
    // No Linux.
  }
  try {
    // Node itself has raised its own to the hard limit.
    const said = execFileSync('sh', ['-c', 'ulimit -Hn'], { timeout: ASK_MS }).toString().trim()
    return said === 'unlimited' ? Number.POSITIVE_INFINITY : Number(said) || USUAL_DESCRIPTORS
  } catch {
    return USUAL_DESCRIPTORS
  }
}

function descriptorsInUse(): number {
  for (const folder of ['/proc/self/fd', '/dev/fd']) {
    try {
      return readdirSync(folder).length
    } catch {
      // Not on this system.
    }
  }
  return RESERVED_DESCRIPTORS
}
