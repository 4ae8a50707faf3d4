//! The image service: what is there, and what a pull would find.

use crate::{Shared, call::begin, cri, generated::image_service_server::ImageService, world::World};
use tonic::{Request, Response, Status, async_trait};

pub(crate) struct Service(pub(crate) Shared);

/// An image by its name, without `:latest`, or by the id made of it.
fn found(world: &World, name: &str) -> Option<cri::Image> {
    let size = world.images.get_key_value(name.strip_prefix("id-").unwrap_or(name));
    size.map(|(name, size)| image(name, *size))
}

pub(crate) fn image(name: &str, size: u64) -> cri::Image {
    cri::Image { id: format!("id-{name}"), repo_tags: vec![name.to_owned()], size, ..Default::default() }
}

fn named(spec: Option<cri::ImageSpec>) -> String {
    spec.unwrap_or_default().image
}

#[async_trait]
impl ImageService for Service {
    async fn list_images(
        &self,
        _: Request<cri::ListImagesRequest>,
    ) -> Result<Response<cri::ListImagesResponse>, Status> {
        let images = self.0.lock().images.iter().map(|(name, size)| image(name, *size)).collect();
        Ok(Response::new(cri::ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<cri::ImageStatusRequest>,
    ) -> Result<Response<cri::ImageStatusResponse>, Status> {
        let image = found(&self.0.lock(), &named(request.into_inner().image));
        Ok(Response::new(cri::ImageStatusResponse { image, info: Default::default() }))
    }

    async fn pull_image(
        &self,
        request: Request<cri::PullImageRequest>,
    ) -> Result<Response<cri::PullImageResponse>, Status> {
        let request = request.into_inner();
        let name = named(request.image);
        let user = request.auth.map(|auth| auth.username).unwrap_or_default();
        begin(&self.0, "PullImage", &name, &user).await?;
        let mut world = self.0.lock();
        let Some(size) = world.registry.get(&name).copied() else {
            return Err(Status::not_found(format!("failed to pull and unpack image {name:?}: {name}: not found")));
        };
        world.images.insert(name.clone(), size);
        Ok(Response::new(cri::PullImageResponse { image_ref: format!("id-{name}") }))
    }

    async fn remove_image(
        &self,
        request: Request<cri::RemoveImageRequest>,
    ) -> Result<Response<cri::RemoveImageResponse>, Status> {
        let name = named(request.into_inner().image);
        begin(&self.0, "RemoveImage", &name, "").await?;
        self.0.lock().images.remove(name.strip_prefix("id-").unwrap_or(&name));
        Ok(Response::new(cri::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<cri::ImageFsInfoRequest>,
    ) -> Result<Response<cri::ImageFsInfoResponse>, Status> {
        let world = self.0.lock();
        let usage = cri::FilesystemUsage {
            timestamp: world.now(),
            fs_id: Some(cri::FilesystemIdentifier { mountpoint: world.image_mount.to_string_lossy().into_owned() }),
            used_bytes: Some(cri::UInt64Value { value: world.images.values().sum() }),
            inodes_used: Some(cri::UInt64Value { value: world.images.len() as u64 }),
        };
        Ok(Response::new(cri::ImageFsInfoResponse {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        }))
    }
}
