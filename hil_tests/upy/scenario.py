"""Eight minutes of an area of twelve chargers, as a script for both interpreters."""

# Subset of both. Pseudo-random by its own arithmetic; integers only; chargers obey through their leases.
SCENARIO = """
from edge.core import control, guard, lease, ledger, watch
from edge.core.model import NEVER, Charger, Feeder, Meter, Place, Settings, Snapshot

seed = 20260115

def random(n):
    global seed
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed // 65536 % n

SETTINGS = Settings(250000, 380000, 15, 1000, 60000, 5, False)
COUNT = 12
names = ["p%02d" % k for k in range(COUNT)]
PLACES = (Place(1, 1, True, -1), Place(1, 1, True, 0), Place(2, 1, True, -1), Place(4, 1, True, -1),
          Place(7, 1, False, -1), Place(7, 3, True, 1))
at = [0, 2, 3, 5, 4, 1, 2, 3, 0, 1, 0, 5]
leases = [lease.start(k + 1) for k in range(COUNT)]
told = [0] * COUNT
seqs = [0] * COUNT
sent = [()] * COUNT
drawn = [0] * COUNT
steady = [0] * COUNT
need = [9000 - 700 * k for k in range(COUNT)]
state, gate = control.start(), watch.start(-70000)
base = 120000
reading = own = None

for tick in range(1, 461):
    now = tick * 1000
    base += random(4001) - 2000
    if tick == 170:
        base += 60000
    if tick == 200:
        base -= 60000
    if tick < 220 or tick > 232:
        ma = [base * 1000 // 660 + random(1000) for p in range(3)]
        s = base
        for k in range(COUNT):
            place = PLACES[at[k]]
            s += drawn[k] * place.lines * 220 // 1000
            for p in range(3):
                if (place.phases if place.known else 1) >> p & 1:
                    ma[p] += drawn[k]
        reading = Meter(now, s, s * 95 // 100, s * 31 // 100, (ma[0], ma[1], ma[2]), (220000, 221000, 219000),
                        None, now, "")
    rows = []
    for k in range(COUNT):
        allowed = lease.allowed_ma(leases[k], 0, now)
        silent = 140 < tick < 160 and k == 2
        most = ledger.possible_ma(sent[k], True, silent, allowed, leases[k].ends_ms, drawn[k], 0, now)
        rows.append(Charger(names[k], at[k], 32000 if k % 2 else 16000, 0, 2 if drawn[k] else 1, drawn[k], allowed,
                            told[k], most, silent, tick - steady[k] >= 60, need[k],
                            need[k] - (1500 if k % 4 == 1 else 0), (30 + 5 * k) * 60000,
                            150000 if k in (3, 6) else 20000 if k in (0, 1) else NEVER, k == 8, k % 3 - 1))
    if tick % 3 == 0 and not 330 < tick < 370:
        behind = [0, 0, 0]
        for k in range(COUNT):
            place = PLACES[at[k]]
            for p in range(3):
                if place.feeder == 1 and place.phases >> p & 1:
                    behind[p] += drawn[k]
        behind = (behind[0], behind[1] + random(3000), behind[2] + 9000)
        own = Meter(now, sum(behind) * 220 // 1000, 0, 0, behind, (220000, 220000, 220000), None, now, "")
    feeders = (Feeder(30000, None, 0), Feeder(45000, own, 3000))
    shot = Snapshot(reading, 800 if tick < 250 else 700 if tick < 300 else 760, PLACES, feeders, tuple(rows))
    gate, shown = watch.look(gate, shot, SETTINGS, now)
    state, wishes = control.step(state, watch.for_control(gate, shown), SETTINGS, now)
    commands = guard.vet(gate, shown, wishes, SETTINGS)
    print(tick, gate.mode, [(c.ma, c.reason, c.phase, c.renew) for c in commands])
    for k in range(COUNT):
        ma = commands[k].ma
        if ma != told[k] or (ma and tick % 15 == k):
            seqs[k] += 1
            if ma > told[k]:
                steady[k] = tick
            told[k] = ma
            sent[k] = sent[k][-6:] + (ledger.Sent(1, seqs[k], ma, ledger.lease_end_ms(now, 60000)),)
            if random(10):
                echo = now - 1000 * random(40)
                asked = lease.Setpoint(1, seqs[k], k + 1, echo, ma, 60000)
                leases[k], verdict = lease.accept(leases[k], asked, 0, 32000, now)
                if verdict != lease.ACCEPTED:
                    print(tick, names[k], "verdict", verdict)
        sent[k] = ledger.outstanding(sent[k], leases[k].epoch, leases[k].seq, now)
        was = drawn[k]
        drawn[k] = lease.allowed_ma(leases[k], 0, now) * 95 // 100
        if k in (1, 5):
            drawn[k] = min(drawn[k], 9000)
        if k == 8:
            drawn[k] = 0
        if abs(drawn[k] - was) > 500:
            steady[k] = tick
    if tick % 20 == 0:
        for unit in state.units:
            print(tick, tuple(unit))
        print(tick, tuple(state.review), state.bases, state.calm, state.credit_ma, state.release_ms)
print(state.sample_ms, state.credit_ms, state.limit_permille, len(state.commands))
print(gate)
print(leases)
"""
