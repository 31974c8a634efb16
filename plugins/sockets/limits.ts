import { readFileSync } from 'node:fs'

/** Descriptors that connections may not take, whatever their number: for state, log, machines dialled by TCP. */
const MIN_RESERVE = 64
/** The share of all descriptors that is kept back where there are many of them. */
const RESERVE_SHARE = 1 / 8
/** The share of all connections that one address may hold before anybody has authenticated on them. */
const ADDRESS_SHARE = 1 / 4

/** How many connections there may be when the process may have `descriptors` open; undefined where there is no limit. */
export function maxSockets(descriptors: number | undefined): number | undefined {
  if (descriptors === undefined) return undefined
  const reserve = Math.max(MIN_RESERVE, Math.ceil(descriptors * RESERVE_SHARE))
  return Math.max(1, descriptors - reserve)
}

export function maxPerAddress(max: number | undefined): number | undefined {
  return max === undefined ? undefined : Math.max(1, Math.floor(max * ADDRESS_SHARE))
}

let limit: number | undefined

/** The limit of this process, which Node has raised as far as it may; undefined where the system has none. */
export function descriptorLimit(): number | undefined {
  limit ??= readLimit()
  return Number.isFinite(limit) ? limit : undefined
}

function readLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    // 'unlimited' is a word, and then not a number.
    return Number(/^Max open files +(\w+)/m.exec(limits)?.[1])
  } catch {
    return reportedLimit()
  }
}

/** Where there is no /proc. A report looks up the names of all peers, so it is the second choice. */
function reportedLimit(): number {
  const { userLimits } = process.report.getReport() as {
    userLimits?: { open_files?: { soft?: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : Number.POSITIVE_INFINITY
}
