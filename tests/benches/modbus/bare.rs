//! The same requests by the same client library, in a loop, without a gateway.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern_protocol::modbus::register::{Block, Table};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_modbus::client::{Context, Reader as _};
use tokio_modbus::slave::{Slave, SlaveContext as _};
use tokio_serial::SerialStream;

use crate::Outcome;
use crate::kind::{BAUD, Kind};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A loop at work.
pub(crate) struct Bare {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Outcome<u64>>,
}

impl Bare {
    /// At a serial device, and always the same unit: the others heard its answer and would take a request that follows
    /// without a silence for a part of that.
    pub(crate) fn on_line(path: &Path, kind: &Kind) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let builder = tokio_serial::new(path.to_string_lossy(), BAUD);
        let context = {
            let _inside = runtime.enter();
            tokio_modbus::client::rtu::attach_slave(SerialStream::open(&builder)?, Slave(1))
        };
        Ok(Self::begin(runtime, context, vec![1], kind))
    }

    /// At a TCP port, all these units in turn.
    pub(crate) fn over_tcp(
        address: std::net::SocketAddr,
        units: Vec<u8>,
        kind: &Kind,
    ) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let connecting = async {
            let stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Outcome::Ok(tokio_modbus::client::tcp::attach(stream))
        };
        let context = runtime.block_on(connecting)?;
        Ok(Self::begin(runtime, context, units, kind))
    }

    fn begin(runtime: Runtime, context: Context, units: Vec<u8>, kind: &Kind) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asking = ask(context, units, kind.requests.clone(), Arc::clone(&stop));
        let asking = runtime.spawn(asking);
        Self { runtime, stop, asking }
    }

    /// Ends it; how many answers it had.
    pub(crate) fn end(self) -> Outcome<u64> {
        self.stop.store(true, Ordering::Release);
        self.runtime.block_on(self.asking)?
    }
}

async fn ask(
    mut context: Context,
    units: Vec<u8>,
    requests: Vec<Block>,
    stop: Arc<AtomicBool>,
) -> Outcome<u64> {
    let mut answers = 0;
    loop {
        for unit in &units {
            context.set_slave(Slave(*unit));
            for block in &requests {
                if stop.load(Ordering::Acquire) {
                    return Ok(answers);
                }
                tokio::time::timeout(PATIENCE, read(&mut context, *block)).await??;
                answers += 1;
            }
        }
    }
}

async fn read(context: &mut Context, block: Block) -> Outcome<()> {
    let (address, count) = (block.address(), block.count());
    match block.table() {
        Table::Coil => drop(context.read_coils(address, count).await??),
        Table::DiscreteInput => drop(context.read_discrete_inputs(address, count).await??),
        Table::InputRegister => drop(context.read_input_registers(address, count).await??),
        Table::HoldingRegister => drop(context.read_holding_registers(address, count).await??),
    }
    Ok(())
}
