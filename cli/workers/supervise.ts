import type { LoadedSettings } from '../../config/index.ts'
import { createLogger, logToStdout } from '../../plugins/logging/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { greeting } from '../greeting.ts'
import { tellAside } from '../prose.ts'
import { stopSignal } from '../stop.ts'
import { briefLog, wholeLog } from '../terminal-log.ts'
import { Supervisor } from './supervisor.ts'

/**
 * Runs a proxy as several processes until a signal ends it, and answers with its exit status.
 * @throws {TunnelError} CONFIG_INVALID without a state that processes can share
 */
export async function supervise(
  loaded: LoadedSettings,
  count: number,
  { isBrief, isTerminal }: { isBrief: boolean; isTerminal: boolean },
): Promise<number> {
  const { settings } = loaded
  if (settings.state.store !== 'redis') throw storeNotShared(count)
  const log = createLogger(settings.log, isBrief ? briefLog() : isTerminal ? wholeLog() : logToStdout())
  const supervisor = new Supervisor({
    count,
    id: settings.cluster.id,
    lost: (worker, how, delayMs) =>
      log.error({ context: { worker, how, delayMs } }, 'a worker has ended and is started again'),
  })
  const stopped = stopSignal({
    unattended: true,
    hangUp: () => supervisor.tell({ is: 'reload' }),
    hurry: () => supervisor.tell({ is: 'hurry' }),
  })
  process.on('SIGUSR2', () => supervisor.tell({ is: 'debug' }))
  const started = await Promise.race([supervisor.start(), stopped])
  if (typeof started === 'string') return await supervisor.stop(started)
  if ('status' in started) {
    await supervisor.stop('SIGTERM')
    return started.status
  }
  if (isTerminal) tellAside(greeting(loaded, started.port))
  return await supervisor.stop(await stopped)
}

function storeNotShared(count: number): TunnelError {
  const text = `--workers ${count} needs state.store = redis: the embedded store is one process' own; with a Redis at hand, add --set state.store=redis --set state.redisUrl=redis://127.0.0.1:6379`
  return new TunnelError('CONFIG_INVALID', text, { hop: 'proxy' })
}
